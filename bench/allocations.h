/*
 * Counts a program's allocations: to be included by one file of it, the one with main. With AddressSanitizer
 * by its hooks, else in front of glibc's own functions; with ThreadSanitizer nothing is counted.
 */
#ifndef REMUDA_BENCH_ALLOCATIONS_H
#define REMUDA_BENCH_ALLOCATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

/* How many there were. */
static uint64_t *allocations(void)
{
    static uint64_t count;
    return &count;
}

#if defined(__SANITIZE_ADDRESS__)
/* sanitizer/allocator_interface.h, which gcc does not install */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *p, size_t n)
{
    (void)p;
    (void)n;
    ++*allocations();
}

static void on_free(const volatile void *p)
{
    (void)p;
}

/* False: they cannot be counted in this build. Once, before anything is counted. */
static bool count_allocations(void)
{
    ENSURE(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0);
    return true;
}
#elif !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);

void *malloc(size_t n)
{
    ++*allocations();
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    ++*allocations();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    ++*allocations();
    return __libc_realloc(p, n);
}

static bool count_allocations(void)
{
    return true;
}
#else
static bool count_allocations(void)
{
    return false;
}
#endif

#endif
