/* System calls without libc, for the child between clone and exec: it shares the agent's memory, so it must
   not touch errno or anything else that libc keeps. Each returns the kernel's value: negative errno on
   failure. */
#ifndef AGENT_RAWCALL_H
#define AGENT_RAWCALL_H

#include <sys/syscall.h>

/* For every function that runs in that child: a sanitizer's bookkeeping would touch the agent's. */
#define RAWCALL_CHILD __attribute__((no_sanitize("address", "undefined", "thread")))

#if defined(__x86_64__)

RAWCALL_CHILD static inline long raw6(long n, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* clone(2) with a stack of its own. The child takes fn and arg from the two words at stack_top and never
 * returns. */
RAWCALL_CHILD static inline long raw_clone(unsigned long flags, void **stack_top, int *child_tid) {
    long result;
    register long r10 __asm__("r10") = (long)child_tid;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "pop %%rax\n\t"
                     "pop %%rdi\n\t"
                     "call *%%rax\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"((long)SYS_clone), "D"(flags), "S"(stack_top), "d"(0L), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

/* A child that ends at once, as soon as it is there: its pid, or why there could be none. */
RAWCALL_CHILD static inline long raw_clone_probe(unsigned long flags) {
    long result;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%edi, %%edi\n\t"
                     "mov %[exit], %%eax\n\t"
                     "syscall\n"
                     "1:"
                     : "=a"(result), "+D"(flags)
                     : "a"((long)SYS_clone), "S"(0L), "d"(0L), "r"(r10), "r"(r8), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

RAWCALL_CHILD static inline long raw6(long n, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

RAWCALL_CHILD static inline long raw_clone(unsigned long flags, void **stack_top, int *child_tid) {
    register long x8 __asm__("x8") = SYS_clone;
    register long x0 __asm__("x0") = (long)flags;
    register long x1 __asm__("x1") = (long)stack_top;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    register long x4 __asm__("x4") = (long)child_tid;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "ldp x1, x0, [sp], #16\n\t"
                     "blr x1\n\t"
                     "brk #1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
                     : "memory");
    return x0;
}

RAWCALL_CHILD static inline long raw_clone_probe(unsigned long flags) {
    register long x8 __asm__("x8") = SYS_clone;
    register long x0 __asm__("x0") = (long)flags;
    register long x1 __asm__("x1") = 0;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    register long x4 __asm__("x4") = 0;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x8, %[exit]\n\t"
                     "svc 0\n"
                     "1:"
                     : "+r"(x0), "+r"(x8)
                     : "r"(x1), "r"(x2), "r"(x3), "r"(x4), [exit] "i"(SYS_exit)
                     : "memory");
    return x0;
}

#else
#error "hfsandbox-agent knows x86_64 and aarch64 only"
#endif

RAWCALL_CHILD static inline long raw0(long n) {
    return raw6(n, 0, 0, 0, 0, 0, 0);
}

RAWCALL_CHILD static inline long raw1(long n, long a) {
    return raw6(n, a, 0, 0, 0, 0, 0);
}

RAWCALL_CHILD static inline long raw3(long n, long a, long b, long c) {
    return raw6(n, a, b, c, 0, 0, 0);
}

RAWCALL_CHILD static inline long raw4(long n, long a, long b, long c, long d) {
    return raw6(n, a, b, c, d, 0, 0);
}

#endif
