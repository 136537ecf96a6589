// SPDX-License-Identifier: Apache-2.0
/* exopatch-witness: the witness behind HTTP. TLS and names are for a proxy in front of it. */
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "attest/witness/witness.h"

#define TIMEOUT_S 10

struct args {
	const char *dir, *name;
	uint16_t port;
};

enum { OPT_NAME = 256, OPT_PORT };

static const struct argp_option options[] = {
	{"name", OPT_NAME, "NAME", 0, "the witness's name, when it is made", 1},
	{"port", OPT_PORT, "PORT", 0, "on 127.0.0.1 (default: any free one, which is printed)", 1},
	{0},
};

static error_t parse_one(int key, char *arg, struct argp_state *st)
{
	struct args *a = st->input;
	unsigned long v;
	char *end;

	switch (key) {
	case OPT_NAME:
		a->name = arg;
		break;
	case OPT_PORT:
		errno = 0;
		v = strtoul(arg, &end, 10);
		if (errno || end == arg || *end || v > UINT16_MAX)
			argp_error(st, "--port: '%s' is none", arg);
		a->port = (uint16_t)v;
		break;
	case ARGP_KEY_ARG:
		if (a->dir)
			argp_error(st, "'%s' is one argument too many", arg);
		a->dir = arg;
		break;
	case ARGP_KEY_END:
		if (!a->dir)
			argp_error(st, "DIRECTORY is missing");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* A request's body as far as it came; one too long is refused at its end. */
struct upload {
	struct xbuf body;
	bool too_long;
};

static enum MHD_Result reply(struct MHD_Connection *c, unsigned int status, const char *type,
			     struct span body)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
		body.len_bytes, (void *)(uintptr_t)body.p, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result rc;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	rc = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result serve(void *arg, struct MHD_Connection *c, const char *url,
			     const char *method, const char *version, const char *data, size_t *len,
			     void **per_request)
{
	struct upload *u = *per_request;
	struct witness_answer a;
	enum MHD_Result rc;

	(void)version;
	if (!u) {
		u = calloc(1, sizeof(*u));
		if (!u)
			return MHD_NO;
		u->body = XBUF(WITNESS_MAX_REQUEST);
		*per_request = u;
		return MHD_YES;
	}
	if (*len) {
		u->too_long |= xbuf_add(&u->body, data, *len) != 0;
		*len = 0;
		return MHD_YES;
	}
	if (strcmp(url, "/add-checkpoint") != 0)
		return reply(c, MHD_HTTP_NOT_FOUND, "text/plain", SPAN("", 0));
	if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
		return reply(c, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", SPAN("", 0));
	if (u->too_long)
		return reply(c, MHD_HTTP_BAD_REQUEST, "text/plain", SPAN("too long\n", 9));
	witness_add_checkpoint(arg, xbuf_span(&u->body), time(NULL), &a);
	rc = reply(c, a.status, a.type, xbuf_span(&a.body));
	xbuf_free(&a.body);
	return rc;
}

static void finished(void *arg, struct MHD_Connection *c, void **per_request,
		     enum MHD_RequestTerminationCode code)
{
	struct upload *u = *per_request;

	(void)arg;
	(void)c;
	(void)code;
	if (u)
		xbuf_free(&u->body);
	free(u);
}

/* Serve until SIGINT or SIGTERM. One thread answers, so that requests cannot overtake each other.
 */
static int run(struct witness *w, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const union MHD_DaemonInfo *info;
	struct MHD_Daemon *d;
	sigset_t set;
	int signal_number;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, port, NULL, NULL, serve, w,
			     MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_CONNECTION_TIMEOUT,
			     (unsigned int)TIMEOUT_S, MHD_OPTION_CONNECTION_LIMIT, 64U,
			     MHD_OPTION_NOTIFY_COMPLETED, finished, NULL, MHD_OPTION_END);
	if (!d) {
		(void)fprintf(stderr, "exopatch-witness: port %u cannot be used\n", port);
		return 1;
	}
	info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);
	printf("listening on 127.0.0.1:%u\n", info ? info->port : port);
	fflush(stdout);
	sigwait(&set, &signal_number);
	MHD_stop_daemon(d);
	return 0;
}

int main(int argc, char **argv)
{
	const struct argp argp = {.options = options,
				  .parser = parse_one,
				  .args_doc = "DIRECTORY",
				  .doc = "Cosign checkpoints of transparency logs that only grow."};
	struct witness *w = NULL;
	struct xerr err = {0};
	struct args a = {0};
	int rc;

	argp_err_exit_status = 2;
	if (argp_parse(&argp, argc, argv, 0, NULL, &a))
		return 2;
	if (witness_open(&w, a.dir, a.name, &err)) {
		(void)fprintf(stderr, "exopatch-witness: %s\n", err.text);
		return 1;
	}
	rc = run(w, a.port);
	witness_close(w);
	return rc;
}
