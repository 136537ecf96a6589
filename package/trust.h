/* SPDX-License-Identifier: Apache-2.0 */
/* A loaded trust directory, and the two things one can ask it. */
#ifndef EXOPATCH_PACKAGE_TRUST_H
#define EXOPATCH_PACKAGE_TRUST_H

#include <openssl/x509.h>

#include "package/container.h"

#define TRUST_MAX_ROLES 16

/** struct trust_role - who must sign */
struct trust_role {
	char name[CONTAINER_ROLE_MAX + 1];
	size_t threshold; /* 1 to PKG_MAX_SIGNERS */
	bool any;	  /* every signer with a good certificate */
	size_t nr_signers;
	char (*signer)[XO_SHA256_HEX_SIZE]; /* key ids */
};

struct pkg_trust {
	size_t nr_roles;
	struct trust_role role[TRUST_MAX_ROLES];
	X509_STORE *store; /* roots and CRLs */
	STACK_OF(X509) * intermediates;
};

/** trust_role_find - the role called @name, or NULL */
const struct trust_role *trust_role_find(const struct pkg_trust *t, const char *name);

/** trust_role_has - whether @keyid may sign for @r */
bool trust_role_has(const struct trust_role *r, const char *keyid);

#endif
