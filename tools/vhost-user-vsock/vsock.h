/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device: connections between the guest and Unix sockets of this machine.
 *
 * device.c moves packets between the queues and the connections; conn.c moves bytes between a
 * connection and its Unix socket; control.c takes commands that inject faults.
 *
 * No packet is ever queued for the guest. A connection notes what it owes the guest (enum owe) and
 * waits in the ready list; when the guest offers a buffer, the next connection in turn fills it,
 * reading payload from its Unix socket straight into the guest's memory. In the other direction at
 * most buf_alloc bytes are kept for a Unix socket that is full: the guest's credit is the bound.
 */
#ifndef VM_VSOCK_H
#define VM_VSOCK_H

#include "list.h"
#include "loop.h"
#include "vhost.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
	HOST_CID = 2,
	CONN_MAX = 8192, /* connections at a time */
	CONN_BUCKETS = 1024,
	BUF_ALLOC_DEFAULT = 256 * 1024,
	BUF_ALLOC_MAX = 16 * 1024 * 1024,
	ORPHAN_MAX = 64, /* resets owed to ports that have no connection */
	HOST_PORT_FIRST = 1 << 30,
	CLOSE_WAIT_MS = 8000, /* as long as Linux waits for the answer to a shutdown */
	UDS_PATH_MAX = 108,
};

enum conn_state {
	CONN_HELLO, /* the client has not yet said CONNECT */
	CONN_ASKED, /* the guest has not yet answered our request */
	CONN_OPEN,
	/* nothing more from or for the guest, but perhaps a reset */
	CONN_OVER,
};

enum owe {
	OWE_REQUEST = 1 << 0,
	OWE_RESPONSE = 1 << 1,
	OWE_CREDIT = 1 << 2,
	OWE_CREDIT_REQUEST = 1 << 3,
	OWE_SHUTDOWN = 1 << 4,
	OWE_RESET = 1 << 5,
};

/* What to spoil. Each connection gets its own copy, which control commands may change. */
struct faults {
	/* take the guest's bytes, but pass none on and give no credit */
	bool stall;
	bool no_credit;	    /* pass them on, but give no credit */
	bool refuse;	    /* reset every new connection, either way */
	int64_t reset_left; /* reset after so many more bytes; -1: never */
	uint32_t buf_alloc; /* what the guest may have under way to us */
	uint32_t delay_ms;  /* rest of every piece of data, either way */
};

/* Bytes for a Unix socket that was full: a circle, allocated when first needed. */
struct outbuf {
	uint8_t *mem;
	uint32_t size, head, len;
};

struct conn {
	struct source src; /* the Unix socket */
	struct vsock *vs;
	struct list all, ready, delayed, closing;
	struct conn *next_in_bucket;
	enum conn_state state;
	bool by_guest, hashed, request_sent;
	uint32_t host_port, guest_port;
	unsigned int owed; /* set of enum owe */

	bool readable;	    /* the Unix socket may have bytes for us */
	bool host_ending;   /* behind what is readable stands the end */
	bool host_eof;	    /* it will have no more */
	bool host_gone;	    /* it takes no more either */
	bool host_told_eof; /* we shut our writing half down */
	bool guest_no_recv, guest_no_send;

	uint32_t sent, peer_buf_alloc, peer_fwd; /* credit the guest gives us */
	bool credit_asked;
	uint32_t got, fwd, told_fwd, buf_alloc; /* credit we give the guest */
	struct outbuf out;

	struct faults faults;
	int64_t in_due, out_due; /* when delayed data may go on; 0: none is delayed */
	bool in_rested;		 /* what is readable has had its rest */
	int64_t close_by;
};

struct orphan {
	uint64_t cid; /* whom the guest wanted to talk to */
	uint32_t host_port, guest_port;
	uint16_t type;
};

struct vsock_stats {
	uint64_t opened, refused, resets, to_guest, from_guest, bad_packets;
};

struct vsock {
	struct loop *loop;
	struct vhost vhost;
	struct source listener; /* the hybrid socket */
	char uds[UDS_PATH_MAX];
	bool keep, verbose;
	bool accept_paused, accept_retry; /* out of fds; one has come free since */

	struct list conns, ready, delayed, closing;
	struct conn *bucket[CONN_BUCKETS];
	unsigned int n_conns;
	uint32_t next_port;
	struct orphan orphan[ORPHAN_MAX];
	unsigned int orphan_head, n_orphans;

	struct faults faults;
	struct vsock_stats stats;
};

/* device.c */
int vsock_open(struct vsock *vs, struct loop *loop, int vhost_fd, int uds_fd, uint64_t guest_cid);
void vsock_close(struct vsock *vs);
/* Moves what can be moved. Returns for how many ms the loop may sleep, -1: until an event. */
int vsock_run(struct vsock *vs);

/* conn.c: towards the Unix socket */
void conn_accept(struct vsock *vs);
/* The guest asks for host_port. Returns NULL if nobody listens there. */
struct conn *conn_dial(struct vsock *vs, uint32_t host_port, uint32_t guest_port);
struct conn *conn_find(struct vsock *vs, uint32_t host_port, uint32_t guest_port);
/* The guest accepted our request. */
void conn_opened(struct conn *c);
/* Bytes of the guest, off into ch; more than it had credit for, or a set reset, ends c. */
void conn_take(struct conn *c, const struct chain *ch, size_t off, uint32_t len);
/* Reads at most len bytes to off in ch. Returns a count, 0 at the end, or -errno. */
ssize_t conn_fetch(struct conn *c, const struct chain *ch, size_t off, uint32_t len);
void conn_flush(struct conn *c);
void conn_guest_shutdown(struct conn *c, uint32_t flags);
/*
 * Ends c for the guest; what the guest sent still goes to the Unix socket. c may be done with at
 * once (src.dead), but its memory stays until the end of the next batch of events.
 */
void conn_end(struct conn *c, bool with_reset);
/* A reset owed by an ended connection has been sent. */
void conn_reset_sent(struct conn *c);
void conn_end_all(struct vsock *vs);
void conn_run_timers(struct vsock *vs, int64_t now);
/* Puts c into or out of the ready list, as its state demands. */
void conn_update(struct conn *c);
bool conn_has_data_to_fetch(struct conn *c);
uint32_t conn_credit(const struct conn *c);

/* control.c */
struct control;
int control_open(struct control **ret, struct vsock *vs, struct loop *loop, int listen_fd);
void control_close(struct control *ctl);
/* One command, as --help lists them. Writes the answer line(s) to out. */
void control_command(struct vsock *vs, char *line, FILE *out);
void control_help(FILE *out);

#endif
