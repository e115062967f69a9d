"""Watches, by ptrace(2), which host paths the processes of an F mode container give the kernel."""
