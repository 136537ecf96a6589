// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/lib/fake_qmp.h"
#include "vmm-agent/target/qmp.h"
#include "vmm-agent/target/target.h"

static const struct fake_answer answers[] = {
	{"query-name", "{\"name\": \"vm\"}"},	       {"getfd", "{}"}, {"quit", NULL},
	{"hmp:info kvm", "kvm support: disabled\r\n"}, {NULL, NULL},
};
static const struct fake_answer *const all[] = {answers, NULL};

static struct qchan *open_fake(struct fake_qmp *f)
{
	struct qchan *c = NULL;
	struct xerr err = {0};

	assert_non_null(f);
	if (qmp_open(fake_qmp_path(f), &c, &err))
		fail_msg("%s", err.text);
	return c;
}

static void split(const char *text, size_t expected)
{
	size_t len = 0;
	bool whole = qmp_split(SPAN(text, strlen(text)), &len);

	assert_int_equal(whole ? len : 0, expected);
}

static void messages_are_told_apart(void **state)
{
	(void)state;
	split("", 0);
	split("{\"return\": {}}", 0);
	split("{\"return\": {}}\r\n", 16);
	split("{\"return\": {}}\n{\"", 15);
	split("\r\n{\"a\": 1}\r\n", 12);
	split("{\r\n    \"return\": {\r\n    }\r\n", 0);
	split("{\r\n    \"return\": {\r\n    }\r\n}\r\n{}", 30);
	split("garbage\n", 8);
}

static void only_objects_are_messages(void **state)
{
	static const char *const bad[] = {
		"[]", "1", "\"a\"", "{", "{\"a\": 1, \"a\": 2}", "{} x", "{\"a\": \"\\u0000\"}"};
	json_t *j;

	(void)state;
	for (size_t i = 0; i < XO_ARRAY_SIZE(bad); i++)
		assert_null(qmp_parse(SPAN(bad[i], strlen(bad[i]))));
	j = qmp_parse(SPAN("{\"a\": 1}\r\n", 10));
	assert_non_null(j);
	json_decref(j);
}

static void call_and_answer(void **state)
{
	const struct fake_opts opts = {.answers = all};
	struct fake_qmp *f = fake_qmp_start(&opts);
	struct qchan *c = open_fake(f);
	json_t *value = NULL;
	struct xerr err = {0};
	char *text = NULL;

	(void)state;
	assert_int_equal(qchan_call(c, "query-name", -1, &value, &err, NULL), 0);
	assert_string_equal(json_string_value(json_object_get(value, "name")), "vm");
	json_decref(value);
	assert_int_equal(qchan_hmp(c, &text, &err, "info %s", "kvm"), 0);
	assert_string_equal(text, "kvm support: disabled\r\n");
	free(text);
	assert_int_equal(qchan_call(c, "quit", -1, NULL, &err, NULL), -XO_EQMP);
	assert_string_equal(err.text, "quit: not in the script");
	qchan_free(c);
	fake_qmp_join(f);
	assert_string_equal(fake_qmp_got(f),
			    "qmp_capabilities query-name human-monitor-command quit");
	fake_qmp_free(f);
}

static void descriptor_is_passed(void **state)
{
	const struct fake_opts opts = {.answers = all};
	struct fake_qmp *f = fake_qmp_start(&opts);
	struct qchan *c = open_fake(f);
	_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(qchan_call(c, "getfd", fd, NULL, NULL, "{s:s}", "fdname", "x"), 0);
	assert_int_equal(fake_qmp_fds(f), 1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	qchan_free(c);
	fake_qmp_free(f);
}

static void events_are_skipped(void **state)
{
	const struct fake_opts opts = {
		.answers = all,
		.before_answer = "{\"timestamp\": {}, \"event\": \"STOP\"}\r\n"
				 "{\"event\": \"RESUME\", \"data\": {\"return\": 1}}\r\n",
	};
	struct fake_qmp *f = fake_qmp_start(&opts);
	struct qchan *c = open_fake(f);
	json_t *value = NULL;

	(void)state;
	assert_int_equal(qchan_call(c, "query-name", -1, &value, NULL, NULL), 0);
	assert_string_equal(json_string_value(json_object_get(value, "name")), "vm");
	json_decref(value);
	/* ... and remembered. */
	assert_int_equal(atomic_load(&c->events), TGT_EVENT_STOP | TGT_EVENT_RESUME);
	qchan_free(c);
	fake_qmp_free(f);
}

/* The order of STOP and RESUME in one batch tells whether the guest runs. */
static void the_last_of_stop_and_resume_counts(void **state)
{
	static const struct qchan_ops none = {0};
	struct qchan c = {.ops = &none};
	const unsigned int both = TGT_EVENT_STOP | TGT_EVENT_RESUME;

	(void)state;
	qchan_event(&c, "STOP");
	assert_int_equal(atomic_load(&c.events), TGT_EVENT_STOP | TGT_EVENT_STANDS);
	qchan_event(&c, "RESUME");
	assert_int_equal(atomic_load(&c.events), both);
	qchan_event(&c, "STOP");
	assert_int_equal(atomic_load(&c.events), both | TGT_EVENT_STANDS);
}

/* A connection whose process died: the rest of a message, an event, an answer to the dead one. */
static void adopted_connections_are_cleaned_up(void **state)
{
	static const char before[] = "\"x\": 1}}\r\n{\"event\": \"RESET\"}\r\n"
				     "{\"return\": {\"name\": \"old\"}, \"id\": 77}\r\n";
	struct qchan *c = NULL;
	int sv[2], fd = -1;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(write(sv[1], before, sizeof(before) - 1), sizeof(before) - 1);
	assert_int_equal(qmp_adopt(sv[0], &c, NULL), 0);
	assert_int_equal(c->ops->watch(c, &fd, NULL), 0);
	assert_int_equal(fd, sv[0]);
	assert_int_equal(c->ops->poll(c, NULL), 0);
	assert_int_equal(atomic_load(&c->events), TGT_EVENT_RESET);
	close(sv[1]);
	assert_int_equal(c->ops->poll(c, NULL), -XO_ETARGETGONE);
	qchan_free(c);
}

static int idle_calls;

static int idle(void *arg, struct xerr *err)
{
	int *limit = arg;

	xo_sleep_ns(1000000);
	return ++idle_calls > *limit ? xerr_set(err, XO_EHOLD, "no more") : 0;
}

/* Who waits for QEMU can do something else meanwhile, and give up. */
static void waiting_is_not_idle(void **state)
{
	struct fake_qmp *f = fake_qmp_start(&(struct fake_opts){.answers = all});
	struct qchan *c = open_fake(f);
	struct xerr err = {0};
	int sv[2], limit = 1000;

	(void)state;
	c->idle = idle;
	c->idle_arg = &limit;
	assert_int_equal(qchan_call(c, "query-name", -1, NULL, NULL, NULL), 0);
	qchan_free(c);
	fake_qmp_free(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(qmp_adopt(sv[0], &c, NULL), 0);
	c->idle = idle;
	c->idle_arg = &limit;
	idle_calls = 990;
	assert_int_equal(qchan_call(c, "query-name", -1, NULL, &err, NULL), -XO_EHOLD);
	assert_string_equal(err.text, "no more");
	qchan_free(c);
	close(sv[1]);
}

static void hang_up_is_the_targets_end(void **state)
{
	const struct fake_opts opts = {.answers = all, .hang_up_at = "query-name"};
	struct fake_qmp *f = fake_qmp_start(&opts);
	struct qchan *c = open_fake(f);
	struct xerr err = {0};

	(void)state;
	assert_int_equal(qchan_call(c, "query-name", -1, NULL, &err, NULL), -XO_ETARGETGONE);
	assert_int_equal(qchan_call(c, "query-name", -1, NULL, NULL, NULL), -XO_ETARGETGONE);
	qchan_free(c);
	fake_qmp_free(f);
}

static int answer_of(const char *raw)
{
	const struct fake_opts opts = {.raw_answer = raw};
	struct fake_qmp *f = fake_qmp_start(&opts);
	struct qchan *c = open_fake(f);
	int rc = qchan_call(c, "query-name", -1, NULL, NULL, NULL);

	qchan_free(c);
	fake_qmp_free(f);
	return rc;
}

static void broken_answers_are_errors(void **state)
{
	(void)state;
	assert_int_equal(answer_of("not json\r\n"), -XO_ENOTQEMU);
	assert_int_equal(answer_of("[1]\r\n"), -XO_ENOTQEMU);
	assert_int_equal(answer_of("{\"neither\": 1}\r\n"), -XO_ENOTQEMU);
	assert_int_equal(answer_of("{\"error\": {\"desc\": \"no\\u001b[2J\"}}\r\n"), -XO_EQMP);
	assert_int_equal(answer_of("{\"error\": 7}\r\n"), -XO_EQMP);
	assert_int_equal(answer_of("{\"return\": {}}\r\n"), 0);
}

static void endless_answer_is_cut(void **state)
{
	_cleanup_free_ char *raw = malloc(QMP_MAX_MESSAGE_BYTES + 2);

	(void)state;
	assert_non_null(raw);
	memset(raw, 'x', QMP_MAX_MESSAGE_BYTES + 1);
	raw[QMP_MAX_MESSAGE_BYTES + 1] = '\0';
	assert_int_equal(answer_of(raw), -XO_ELIMIT);
}

static int open_greeted(const char *greeting, struct xerr *err)
{
	const struct fake_opts opts = {.greeting = greeting};
	struct fake_qmp *f = fake_qmp_start(&opts);
	struct qchan *c = NULL;
	int rc;

	assert_non_null(f);
	rc = qmp_open(fake_qmp_path(f), &c, err);
	assert_null(c);
	fake_qmp_free(f);
	return rc;
}

static void other_peers_are_not_qemu(void **state)
{
	struct xerr err = {0};

	(void)state;
	assert_int_equal(open_greeted("SSH-2.0-x\r\n", NULL), -XO_ENOTQEMU);
	assert_int_equal(open_greeted("{\"hello\": 1}\r\n", NULL), -XO_ENOTQEMU);
	assert_int_equal(open_greeted("{\"QMP\": 1}\r\n", NULL), -XO_ENOTQEMU);
	/* Only silence takes time. */
	assert_int_equal(open_greeted("", &err), -XO_ETIMEOUT);
	assert_non_null(strstr(err.text, "another client"));
}

static void places_without_a_server(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct qchan *c = NULL;

	(void)state;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/exopatch-dead-%d", tmp ? tmp : "/tmp",
		 (int)getpid());
	assert_int_equal(qmp_open(addr.sun_path, &c, NULL), -XO_ENOTARGET);
	assert_int_equal(qmp_open("/", &c, NULL), -XO_ENOTQEMU);
	assert_int_equal(qmp_open("/etc/passwd", &c, NULL), -XO_ENOTQEMU);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(qmp_open(addr.sun_path, &c, NULL), -XO_ENOTARGET);
	unlink(addr.sun_path);
	assert_null(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_told_apart),
		cmocka_unit_test(only_objects_are_messages),
		cmocka_unit_test(call_and_answer),
		cmocka_unit_test(descriptor_is_passed),
		cmocka_unit_test(events_are_skipped),
		cmocka_unit_test(the_last_of_stop_and_resume_counts),
		cmocka_unit_test(adopted_connections_are_cleaned_up),
		cmocka_unit_test(waiting_is_not_idle),
		cmocka_unit_test(hang_up_is_the_targets_end),
		cmocka_unit_test(broken_answers_are_errors),
		cmocka_unit_test(endless_answer_is_cut),
		cmocka_unit_test(other_peers_are_not_qemu),
		cmocka_unit_test(places_without_a_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
