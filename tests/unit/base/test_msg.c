// SPDX-License-Identifier: Apache-2.0
/* Records between our processes: what does not fit is refused, descriptors never leak. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/msg.h"

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void a_record_arrives_with_its_descriptors(void **state)
{
	int sv[2], pass[2] = {0, 1};
	struct msg m = {0};
	int before = open_fds();

	(void)state;
	assert_int_equal(msg_socketpair(sv), 0);
	assert_int_equal(msg_send(sv[0], 7, -3, "hello", 5, pass, 2), 0);
	assert_int_equal(msg_recv(sv[1], 1000, &m), 0);
	assert_int_equal(m.head.op, 7);
	assert_int_equal(m.head.status, -3);
	assert_int_equal(m.head.len_bytes, 5);
	assert_memory_equal(m.body, "hello", 5);
	assert_int_equal(m.head.nr_fds, 2);
	msg_free(&m);
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(open_fds(), before);
}

static void too_large_is_refused_before_sending(void **state)
{
	static uint8_t big[MSG_MAX_BYTES];
	int sv[2];

	(void)state;
	assert_int_equal(msg_socketpair(sv), 0);
	assert_int_equal(msg_send(sv[0], 1, 0, big, sizeof(big), NULL, 0), -XO_ELIMIT);
	assert_int_equal(msg_send(sv[0], 1, 0, big, sizeof(big) - sizeof(struct msg_head), NULL, 0),
			 0);
	close(sv[0]);
	close(sv[1]);
}

static void lies_in_the_header_are_fatal(void **state)
{
	struct msg_head head = {.op = 1, .len_bytes = 100};
	int sv[2], before = open_fds();
	struct msg m = {0};

	(void)state;
	assert_int_equal(msg_socketpair(sv), 0);
	assert_int_equal(send(sv[0], &head, sizeof(head), 0), sizeof(head));
	assert_int_equal(msg_recv(sv[1], 1000, &m), -XO_EPROTO);
	assert_int_equal(send(sv[0], &head, 3, 0), 3);
	assert_int_equal(msg_recv(sv[1], 1000, &m), -XO_EPROTO);
	head = (struct msg_head){.op = 1, .nr_fds = 1};
	assert_int_equal(send(sv[0], &head, sizeof(head), 0), sizeof(head));
	assert_int_equal(msg_recv(sv[1], 1000, &m), -XO_EPROTO);
	close(sv[0]);
	close(sv[1]);
	assert_int_equal(open_fds(), before);
}

static void silence_and_death_are_told_apart(void **state)
{
	struct msg m = {0};
	int sv[2];

	(void)state;
	assert_int_equal(msg_socketpair(sv), 0);
	assert_int_equal(msg_recv(sv[1], 10, &m), -XO_ETIMEOUT);
	close(sv[0]);
	assert_int_equal(msg_recv(sv[1], 1000, &m), -XO_EPEERDIED);
	assert_int_equal(msg_send(sv[1], 1, 0, NULL, 0, NULL, 0), -XO_EPEERDIED);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_arrives_with_its_descriptors),
		cmocka_unit_test(too_large_is_refused_before_sending),
		cmocka_unit_test(lies_in_the_header_are_fatal),
		cmocka_unit_test(silence_and_death_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
