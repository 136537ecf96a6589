// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/monitor/uffd.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAX_EVENTS 16
#define MAX_TRIES  1000

/* include/uapi/linux/userfaultfd.h of Linux 6.4: private memory that was never touched, too. */
#define FEATURE_WP_UNPOPULATED (UINT64_C(1) << 13)
/* Linux 5.19 has them all. */
#define FEATURES                                                                                   \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_THREAD_ID)

int uffd_start(int fd, struct xerr *err)
{
	struct uffdio_api api = {.api = UFFD_API, .features = FEATURES | FEATURE_WP_UNPOPULATED};

	if (!ioctl(fd, UFFDIO_API, &api))
		return 0;
	api = (struct uffdio_api){.api = UFFD_API, .features = FEATURES};
	if (!ioctl(fd, UFFDIO_API, &api))
		return 0;
	return xerr_set(err, XO_EGUARD,
			"userfaultfd: this kernel cannot write-protect shared memory (%s); Linux "
			"5.19 or newer is needed",
			strerrordesc_np(errno));
}

int uffd_register(int fd, struct hva start, uint64_t len_bytes, struct xerr *err)
{
	struct uffdio_register r = {.range = {.start = start.v, .len = len_bytes},
				    .mode = UFFDIO_REGISTER_MODE_WP};

	if (!ioctl(fd, UFFDIO_REGISTER, &r)) {
		if (r.ioctls & UINT64_C(1) << _UFFDIO_WRITEPROTECT)
			return 0;
		return xerr_set(err, XO_EGUARD,
				"QEMU's memory at %#" PRIx64 ": this kind cannot be protected",
				start.v);
	}
	if (errno == EBUSY)
		return xerr_set(err, EBUSY,
				"QEMU's memory at %#" PRIx64
				": it has a userfaultfd already (background snapshot, post-copy "
				"migration, or another guard); try again when that has ended",
				start.v);
	return xerr_set(
		err, XO_EGUARD,
		"QEMU's memory at %#" PRIx64
		": cannot be protected: %s; huge pages can only be as a whole, private mappings of "
		"files on disk not at all",
		start.v, strerrordesc_np(errno));
}

int uffd_wake(int fd, struct hva start, uint64_t len_bytes)
{
	struct uffdio_range r = {.start = start.v, .len = len_bytes};

	return ioctl(fd, UFFDIO_WAKE, &r) ? -errno : 0;
}

/* The kernel wakes only who waits for a page that is missing. */
int uffd_unregister(int fd, struct hva start, uint64_t len_bytes)
{
	struct uffdio_range r = {.start = start.v, .len = len_bytes};
	int rc = ioctl(fd, UFFDIO_UNREGISTER, &r) ? -errno : 0;
	int woken = uffd_wake(fd, start, len_bytes);

	return rc ? rc : woken;
}

/* EAGAIN: QEMU's address space is being changed at this moment. */
static int set_mode(int fd, struct hva start, uint64_t len_bytes, uint64_t mode)
{
	struct uffdio_writeprotect w = {.range = {.start = start.v, .len = len_bytes},
					.mode = mode};

	for (int i = 0; i < MAX_TRIES; i++) {
		if (!ioctl(fd, UFFDIO_WRITEPROTECT, &w))
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return -errno;
}

int uffd_protect(int fd, struct hva start, uint64_t len_bytes)
{
	return set_mode(fd, start, len_bytes, UFFDIO_WRITEPROTECT_MODE_WP);
}

int uffd_open(int fd, struct hva start, uint64_t len_bytes)
{
	return set_mode(fd, start, len_bytes, 0);
}

size_t uffd_read(int fd, struct uffd_event *ret, size_t max)
{
	struct uffd_msg msg[MAX_EVENTS];
	size_t want = max < MAX_EVENTS ? max : MAX_EVENTS;
	ssize_t n = want ? read(fd, msg, want * sizeof(msg[0])) : 0;
	size_t nr = 0;

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(msg[0]); i++) {
		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		ret[nr++] = (struct uffd_event){
			.page = {msg[i].arg.pagefault.address & ~XO_PAGE_MASK},
			.tid = (pid_t)msg[i].arg.pagefault.feat.ptid,
		};
	}
	return nr;
}
