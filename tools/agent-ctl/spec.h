/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI bundles: config.json to the agent's Spec message, and a config.json for those who have none.
 */
#ifndef CTL_SPEC_H
#define CTL_SPEC_H

#include "pbjson.h"
#include "proto.h"

#define SHARED_TAG "kataShared"
#define SHARED_MOUNT \
	"/run/kata-containers/shared/containers/" /* with the slash, as the runtime sends it */

struct spec_options {
	const char *bundle; /* directory with config.json */
	const char *shared; /* host directory that is the guest's share; NULL: none */
	bool terminal;	    /* overrides process.terminal when set */
	char *const *argv;  /* overrides process.args when not NULL; NULL-terminated */
	bool quiet;	    /* no warnings about members that the protocol has no field for */
	bool no_own_pid; /* as 3.x's hosts: pid namespaces without a path are the agent's to add */
};

/*
 * Reads BUNDLE/config.json into a message of `desc` (grpc.Spec of any schema). Root.Path becomes
 * what the guest sees. *ret is freed with protobuf_c_message_free_unpacked.
 */
int spec_load(const struct spec_options *opt, const ProtobufCMessageDescriptor *desc,
	      ProtobufCMessage **ret, struct err *err);
/* The part of it that knows no files. `name` is used in errors. */
int spec_from_json(json_object *json, const char *name, bool quiet,
		   const ProtobufCMessageDescriptor *desc, ProtobufCMessage **ret, struct err *err);
/* A part of a spec in its own message, e.g. linux.resources or process. */
int spec_part_from_json(json_object *json, const ProtobufCMessageDescriptor *desc,
			ProtobufCMessage **ret, struct err *err);
/* Where the guest finds a directory of the host's share. *ret is the caller's. */
int spec_guest_path(const char *shared, const char *host_path, char **ret, struct err *err);

struct spec_template {
	char *const *argv; /* NULL: sh */
	const char *cwd, *hostname, *rootfs;
	bool terminal, readonly;
};

/* config.json as `agent-ctl spec` prints it. The caller's reference. */
json_object *spec_template(const struct spec_template *t);

#endif
