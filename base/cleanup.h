/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-bound release of memory and descriptors (gcc and clang `cleanup` attribute). */
#ifndef EXOPATCH_BASE_CLEANUP_H
#define EXOPATCH_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define XO_CLEANUP(fn)	 __attribute__((cleanup(fn)))
#define XO_MUST_CHECK	 __attribute__((warn_unused_result))
#define XO_PRINTF(f, a)	 __attribute__((format(printf, f, a)))
#define XO_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void xo_free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void xo_close_ptr(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void xo_fclose_ptr(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_free_	 XO_CLEANUP(xo_free_ptr)
#define _cleanup_close_	 XO_CLEANUP(xo_close_ptr)
#define _cleanup_fclose_ XO_CLEANUP(xo_fclose_ptr)

/* Hand a descriptor or pointer on to its new owner, so that the cleanup leaves it alone. */
#define XO_TAKE_FD(fd)                                                                             \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})
#define XO_TAKE_PTR(p)                                                                             \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#endif
