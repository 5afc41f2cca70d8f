/* What the vector headers of all targets share. */
#ifndef FS_VEC_COMMON_H
#define FS_VEC_COMMON_H

#include <stddef.h>

/* The kernels are one function an entry: an operation that stayed a call would pass its vectors through memory. */
#if defined(ALWAYS_INLINE)
/* the target has its own */
#elif defined(_MSC_VER) && !defined(__clang__)
#define ALWAYS_INLINE __forceinline
#else
#define ALWAYS_INLINE inline __attribute__((always_inline))
#endif

/* One copy, for all who call it. */
#if defined(_MSC_VER) && !defined(__clang__)
#define NEVER_INLINE __declspec(noinline)
#elif defined(__clang__)
#define NEVER_INLINE __attribute__((noinline))
#else
#define NEVER_INLINE __attribute__((noinline, noclone))
#endif

/* The same, made small rather than quick: for what is seldom called, or waits for memory in any case. */
#if defined(_MSC_VER) && !defined(__clang__)
#define MADE_SMALL NEVER_INLINE
#else
#define MADE_SMALL __attribute__((cold)) NEVER_INLINE
#endif

/* For a value with two uses, which gcc would else load from memory for each. */
#if defined(__GNUC__) && defined(LOADED)
#define KEEP_LOADED(x) __asm__("" : LOADED(x))
#else
#define KEEP_LOADED(x) ((void)0)
#endif

/* Hides the value of a scalar in a vector register, so that the compiler keeps it there instead of loading the
 * constant again. UNKNOWN(x): the target's operand of asm. */
#if defined(__GNUC__) && defined(UNKNOWN)
#define KEEP_UNKNOWN(x) __asm__("" : UNKNOWN(x))
#else
#define KEEP_UNKNOWN(x) ((void)0)
#endif

/* A hint: the address may lie outside of any array. */
#if defined(_MSC_VER) && !defined(__clang__)
#define prefetch(address) ((void)(address))
#define prefetch_for_store(address) ((void)(address))
#else
#define prefetch(address) __builtin_prefetch(address)
#define prefetch_for_store(address) __builtin_prefetch(address, 1)
#endif

#endif
