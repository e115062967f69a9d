"""A kernel of OpenCL on the first device, by the loader alone: prints what went wrong, and sums."""

import ctypes

SOURCE = b"""
__kernel void sums(__global const int *a, __global const int *b, __global int *c) {
    int i = get_global_id(0);
    c[i] = a[i] * 3 + b[i];
}
"""
COUNT = 1000
COPY = 1 << 5  # CL_MEM_COPY_HOST_PTR
Numbers = ctypes.c_int * COUNT
opencl = ctypes.CDLL("libOpenCL.so.1")
for name in ("Context", "CommandQueue", "Buffer", "ProgramWithSource", "Kernel"):
    getattr(opencl, f"clCreate{name}").restype = ctypes.c_void_p
code = ctypes.c_int()
pointer = ctypes.c_void_p


def check(what: str, result: int) -> None:
    if result:
        raise SystemExit(f"{what}: {result}")


def made(what: str, *words: object) -> ctypes.c_void_p:
    found = getattr(opencl, what)(*words, ctypes.byref(code))
    check(what, code.value)
    return pointer(found)


platform, device = pointer(), pointer()
check("clGetPlatformIDs", opencl.clGetPlatformIDs(1, ctypes.byref(platform), None))
kinds = ctypes.c_uint64(0xFFFFFFFF)
check("clGetDeviceIDs", opencl.clGetDeviceIDs(platform, kinds, 1, ctypes.byref(device), None))
context = made("clCreateContext", None, 1, ctypes.byref(device), None, None)
queue = made("clCreateCommandQueue", context, device, ctypes.c_uint64(0))
a, b, c = Numbers(*range(COUNT)), Numbers(*range(0, 7 * COUNT, 7)), Numbers()
size = ctypes.c_size_t(ctypes.sizeof(Numbers))
flags = ctypes.c_uint64(COPY)
buffers = [made("clCreateBuffer", context, flags, size, each) for each in (a, b, c)]
text = ctypes.c_char_p(SOURCE)
program = made("clCreateProgramWithSource", context, 1, ctypes.byref(text), None)
check("clBuildProgram", opencl.clBuildProgram(program, 0, None, None, None, None))
kernel = made("clCreateKernel", program, b"sums")
for number, buffer in enumerate(buffers):
    word = ctypes.c_size_t(ctypes.sizeof(pointer))
    check("clSetKernelArg", opencl.clSetKernelArg(kernel, number, word, ctypes.byref(buffer)))
work = ctypes.c_size_t(COUNT)
check(
    "clEnqueueNDRangeKernel",
    opencl.clEnqueueNDRangeKernel(queue, kernel, 1, None, ctypes.byref(work), None, 0, None, None),
)
check(
    "clEnqueueReadBuffer",
    opencl.clEnqueueReadBuffer(
        queue, buffers[2], 1, ctypes.c_size_t(0), size, ctypes.byref(c), 0, None, None
    ),
)
print(sum(c[i] == a[i] * 3 + b[i] for i in range(COUNT)), "of", COUNT, "right")
