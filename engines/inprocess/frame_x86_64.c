/* The kernel's struct rt_sigframe and setup_rt_frame(), arch/x86/kernel/signal_64.c. */
#include "frame.h"

#include "context_x86_64.h"

void restore_context(void); /* of restore_x86_64.c */

enum {
    RED_ZONE = 128, /* below the stack pointer, a function's own */
    LEGACY_STATE = 512,
    STATE_MAGIC = 464, /* in the state of the floating point unit: _fpx_sw_bytes */
    STATE_SIZE = 468,
    STATE_ALIGNMENT = 64,
    MAGIC = 0x46505853,
    /* of the flags: TF, DF, RF, which a handler begins without */
    CLEARED = 0x10500,
};

struct frame {
    uintptr_t way_back;
    struct context context;
    char info[SIGNAL_INFO_SIZE];
};

static bool is_in(const unsigned long *stack, uintptr_t place) {
    return place > stack[0] && place - stack[0] <= stack[2];
}

static size_t state_size(const char *state) {
    uint32_t words[2];
    copy_bytes((char *)words, state + STATE_MAGIC, sizeof words);
    _Static_assert(STATE_SIZE == STATE_MAGIC + sizeof words[0], "one behind the other");
    return words[0] == MAGIC ? words[1] : LEGACY_STATE;
}

/* Copy the floating point state below top; the new top. */
static uintptr_t move_state(struct context *context, uintptr_t top) {
    const char *state = (const char *)context->floating;
    if (state == NULL) {
        return top;
    }
    size_t size = state_size(state);
    uintptr_t place = (top - size) & -(uintptr_t)STATE_ALIGNMENT;
    copy_bytes((char *)place, state, size);
    context->floating = place;
    return place;
}

bool frame_move(struct context *context, const struct handler *handler) {
    if (!is_in(context->stack, (uintptr_t)context) ||
        is_in(context->stack, (uintptr_t)context->rsp)) {
        return false;
    }
    uintptr_t top = move_state(context, (uintptr_t)context->rsp - RED_ZONE);
    /* As behind a call: a multiple of 16 and 8. */
    struct frame *frame = (struct frame *)(((top - sizeof *frame) & -(uintptr_t)16) - 8);
    frame->way_back = (uintptr_t)restore_context;
    copy_bytes((char *)&frame->context, (const char *)context, sizeof *context);
    copy_bytes(frame->info, handler->info, sizeof frame->info);
    context->rip = (long)handler->address;
    context->rsp = (long)frame;
    context->rdi = handler->signal;
    context->rsi = (long)frame->info;
    context->rdx = (long)&frame->context;
    context->rax = 0;
    context->registers_left[0] &= ~(unsigned long)CLEARED;
    context->floating = 0; /* the state that programs begin with */
    context->mask = handler->mask;
    return true;
}
