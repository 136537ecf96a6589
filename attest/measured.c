// SPDX-License-Identifier: Apache-2.0
#include "attest/measured.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "attest/file.h"
#include "base/fault.h"

#define NAME_FORM    "ima-%020" PRIu64 ".log"
#define NAME_SIZE    40
#define STATE	     "ima.state"
#define ROTATE_BYTES (16 << 20) /* without a TPM nothing else ends a file */

static int find_newest(int dirfd, uint64_t *ret_first, bool *ret_found)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	char name[NAME_SIZE];
	uint64_t first;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return -errno;
	}
	*ret_found = false;
	while ((e = readdir(dir))) {
		if (sscanf(e->d_name, "ima-%20" SCNu64, &first) != 1)
			continue;
		(void)snprintf(name, sizeof(name), NAME_FORM, first);
		if (strcmp(name, e->d_name) != 0 || (*ret_found && first < *ret_first))
			continue;
		*ret_first = first;
		*ret_found = true;
	}
	closedir(dir);
	return 0;
}

/* Begin file "ima-FIRST.log", or open it if it is there. */
static int open_file(struct measured *m, int dirfd, uint64_t first, bool create)
{
	char name[NAME_SIZE];
	int fd;

	(void)snprintf(name, sizeof(name), NAME_FORM, first);
	fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	if (fd < 0)
		return -errno;
	if (create && file_sync_dir(dirfd, name)) {
		close(fd);
		return -errno;
	}
	xo_close_ptr(&m->fd);
	m->fd = fd;
	m->first = m->next = first;
	m->end_bytes = 0;
	memset(m->value, 0, sizeof(m->value));
	return 0;
}

/* Where a replay stood when the PCR had the value that the TPM has now. */
struct found {
	bool any;
	uint64_t next;
	off_t end_bytes;
};

/* Replay the file. A torn entry at its end is left out: it is made again from the leaf. */
static int replay(struct measured *m, struct span log, const uint8_t *pcr, struct found *ret,
		  struct xerr *err)
{
	struct span rest = log;
	uint8_t digest[XO_SHA256_BYTES];
	struct ima_entry e;

	ret->any = pcr && !memcmp(m->value, pcr, sizeof(m->value));
	ret->next = m->first;
	ret->end_bytes = 0;
	while (ima_next(&rest, &e)) {
		if (e.pcr != m->pcr || e.leaf != m->next || !ima_consistent(&e) ||
		    ima_digest(&e, digest) || ima_extend(m->value, digest))
			return xerr_set(err, XO_ESTATE,
					"the measured log's entry %" PRIu64 " is damaged, or PCR "
					"%u is not the one it was made with",
					m->next, m->pcr);
		m->next++;
		m->end_bytes = (off_t)(log.len_bytes - rest.len_bytes);
		if (pcr && !memcmp(m->value, pcr, sizeof(m->value)))
			*ret = (struct found){true, m->next, m->end_bytes};
	}
	return 0;
}

/* Extend the PCR with the entries that the TPM has not seen, those from @f on. */
static int catch_up(const struct measured *m, struct span log, const struct found *f,
		    struct tpm *tpm, struct xerr *err)
{
	struct span rest = SPAN(log.p + f->end_bytes, (size_t)(m->end_bytes - f->end_bytes));
	uint8_t digest[XO_SHA256_BYTES];
	struct ima_entry e;
	int rc = 0;

	while (!rc && ima_next(&rest, &e)) {
		rc = ima_digest(&e, digest);
		if (!rc)
			rc = tpm_extend(tpm, digest, err);
	}
	return rc;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* ---- where it stood, so that a long file need not be read each time ---- */

/** struct standing - file "ima.state", of this host only. Whether it is true PCR and length tell */
struct standing {
	uint64_t first, next, end_bytes, pcr;
	uint8_t value[XO_SHA256_BYTES];
	uint8_t check[XO_SHA256_BYTES]; /* digest of the above */
};

static struct span checked(const struct standing *st)
{
	return SPAN(st, offsetof(struct standing, check));
}

/* If it cannot be written, the next opening reads the file. */
static void note_standing(const struct measured *m)
{
	struct standing st = {.first = m->first,
			      .next = m->next,
			      .end_bytes = (uint64_t)m->end_bytes,
			      .pcr = m->pcr};

	memcpy(st.value, m->value, sizeof(st.value));
	if (!xo_sha256(checked(&st), st.check))
		(void)!pwrite(m->statefd, &st, sizeof(st), 0);
}

/* The file is as long as it was then, and the PCR, if there is one, where it was: all that was
 * measured is in both. */
static bool stands(struct measured *m, const uint8_t *pcr)
{
	uint8_t check[XO_SHA256_BYTES];
	struct standing st;
	struct stat file;

	if (pread(m->statefd, &st, sizeof(st), 0) != sizeof(st) || xo_sha256(checked(&st), check) ||
	    memcmp(check, st.check, sizeof(check)) != 0 || st.first != m->first ||
	    st.pcr != m->pcr || st.next <= st.first ||
	    (pcr && memcmp(st.value, pcr, sizeof(st.value)) != 0) || fstat(m->fd, &file) ||
	    (uint64_t)file.st_size != st.end_bytes)
		return false;
	m->next = st.next;
	m->end_bytes = file.st_size;
	memcpy(m->value, st.value, sizeof(m->value));
	return true;
}

static int map_file(const struct measured *m, struct span *ret)
{
	struct stat st;
	void *p;

	*ret = (struct span){0};
	if (fstat(m->fd, &st))
		return -errno;
	if (!st.st_size)
		return 0;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, m->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = SPAN(p, (size_t)st.st_size);
	return 0;
}

/* The PCR and the file agree, or one is ahead by what a dead process did not finish. */
static int compare(struct measured *m, int dirfd, struct span log, struct tpm *tpm,
		   const uint8_t *pcr, struct xerr *err)
{
	struct found f;
	int rc = replay(m, log, pcr, &f, err);

	if (!rc && (size_t)m->end_bytes < log.len_bytes && ftruncate(m->fd, m->end_bytes))
		rc = xerr_set(err, errno, "the measured log cannot be cut: %s", strerror(errno));
	if (rc)
		return rc;
	if (tpm && !f.any)
		return xerr_set(err, XO_EPCR,
				"PCR %u was extended by somebody else; name another with --pcr and "
				"a new directory",
				m->pcr);
	/* A PCR at zero with more than one entry: the TPM was reset since, the host booted anew. */
	if (tpm && is_zero(pcr, XO_SHA256_BYTES) && m->next - m->first > 1)
		return open_file(m, dirfd, m->next, true);
	rc = tpm ? catch_up(m, log, &f, tpm, err) : 0;
	if (!rc)
		note_standing(m);
	return rc;
}

static int agree(struct measured *m, int dirfd, struct tpm *tpm, struct xerr *err)
{
	uint8_t pcr[XO_SHA256_BYTES];
	struct span log;
	int rc = tpm ? tpm_read_pcr(tpm, pcr, err) : 0;

	if (rc)
		return rc;
	if (!stands(m, tpm ? pcr : NULL)) {
		rc = map_file(m, &log);
		if (rc)
			return xerr_set(err, -rc, "the measured log cannot be read");
		rc = compare(m, dirfd, log, tpm, tpm ? pcr : NULL, err);
		if (log.len_bytes)
			(void)munmap((void *)(uintptr_t)log.p, log.len_bytes);
	}
	if (!rc && !tpm && m->end_bytes > ROTATE_BYTES)
		return open_file(m, dirfd, m->next, true);
	return rc;
}

int measured_open(struct measured *m, int dirfd, uint32_t pcr, uint64_t log_size, struct tpm *tpm,
		  struct xerr *err)
{
	uint64_t first = 0;
	bool found = false;
	int rc;

	m->fd = -1;
	m->pcr = pcr;
	m->statefd = openat(dirfd, STATE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	rc = find_newest(dirfd, &first, &found);
	if (!rc && !found && log_size)
		return xerr_set(err, XO_ESTATE, "the measured log is lost; bring its file back");
	if (!rc)
		rc = open_file(m, dirfd, first, !found);
	if (rc)
		return xerr_set(err, -rc, "the measured log cannot be opened: %s", strerror(-rc));
	rc = agree(m, dirfd, tpm, err);
	if (rc)
		return rc;
	if (m->next > log_size)
		return xerr_set(err, XO_ELOG,
				"the log has %" PRIu64 " entries, but %" PRIu64
				" were measured; bring the lost ones back",
				log_size, m->next);
	return 0;
}

/* Extend the PCR to @value, unless an earlier try that seemed to fail did so. */
static int extend_once(struct measured *m, const uint8_t digest[XO_SHA256_BYTES],
		       const uint8_t value[XO_SHA256_BYTES], struct tpm *tpm, struct xerr *err)
{
	uint8_t now[XO_SHA256_BYTES];
	int rc;

	if (m->doubt) {
		rc = tpm_read_pcr(tpm, now, err);
		if (rc)
			return rc;
		m->doubt = false;
		if (!memcmp(now, value, sizeof(now)))
			return 0;
	}
	rc = tpm_extend(tpm, digest, err);
	m->doubt = rc != 0;
	return rc;
}

int measured_add(struct measured *m, const char *uuid, struct span envelope, struct tpm *tpm,
		 struct xerr *err)
{
	_cleanup_xbuf_ struct xbuf b = XBUF(IMA_ENTRY_MAX + 64);
	uint8_t digest[XO_SHA256_BYTES], value[XO_SHA256_BYTES];
	struct ima_entry e;
	struct span s;
	int rc = ima_format(&b, m->pcr, m->next, uuid, envelope);

	s = xbuf_span(&b);
	memcpy(value, m->value, sizeof(value));
	if (!rc && (!ima_next(&s, &e) || ima_digest(&e, digest) || ima_extend(value, digest)))
		rc = -XO_EINTERNAL;
	if (!rc && (lseek(m->fd, m->end_bytes, SEEK_SET) < 0 || ftruncate(m->fd, m->end_bytes)))
		rc = -errno;
	if (!rc)
		rc = file_write_all(m->fd, xbuf_span(&b));
	if (!rc && fdatasync(m->fd))
		rc = -errno;
	if (rc)
		return xerr_set(err, -rc, "the measured log cannot be written: %s",
				-rc < XO_ERR_FIRST ? strerror(-rc) : xo_code_text(rc));
	fault_pass(FAULT_rec_measured);
	rc = tpm ? extend_once(m, digest, value, tpm, err) : 0;
	if (rc)
		return rc;
	fault_pass(FAULT_rec_extended);
	memcpy(m->value, value, sizeof(value));
	m->end_bytes += (off_t)b.len_bytes;
	m->next++;
	note_standing(m);
	return 0;
}

int measured_read(const struct measured *m, struct xbuf *out)
{
	return lseek(m->fd, 0, SEEK_SET) ? -errno : xbuf_read_fd(out, m->fd);
}

void measured_close(struct measured *m)
{
	xo_close_ptr(&m->fd);
	xo_close_ptr(&m->statefd);
	m->fd = m->statefd = -1;
}
