/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps from state to state that pod.h's tables tell, and what may be parked in each.
 */
#include "pod/pod.h"

#include <assert.h>

#include "base/log.h"

#define TO(state) (1u << (state))

/* Only these; whoever asks for another has lost track of what he does. */
static const struct sandbox_row {
	unsigned int next;
	bool running, none; /* may until_running, until_none be parked? */
	const char *name;
} sandbox_rows[] = {
	[SANDBOX_NONE] = { TO(SANDBOX_MODULES) | TO(SANDBOX_EMPTYING), false, false, "none" },
	[SANDBOX_MODULES] = { TO(SANDBOX_MOUNTING) | TO(SANDBOX_NONE), true, false, "modules" },
	[SANDBOX_MOUNTING] = { TO(SANDBOX_RUNNING) | TO(SANDBOX_UNDOING) | TO(SANDBOX_NONE), true,
			       false, "mounting" },
	[SANDBOX_UNDOING] = { TO(SANDBOX_NONE), true, false, "undoing" },
	[SANDBOX_RUNNING] = { TO(SANDBOX_EMPTYING), false, false, "running" },
	[SANDBOX_EMPTYING] = { TO(SANDBOX_UNMOUNTING), false, true, "emptying" },
	[SANDBOX_UNMOUNTING] = { TO(SANDBOX_SYNCING), false, true, "unmounting" },
	[SANDBOX_SYNCING] = { TO(SANDBOX_NONE), false, true, "syncing" },
};

void sandbox_enter(struct sandbox *sb, enum sandbox_state state)
{
	const struct sandbox_row *row = &sandbox_rows[state];

	log_debug("sandbox", "%s -> %s", sandbox_rows[sb->state].name, row->name);
	assert(sandbox_rows[sb->state].next & TO(state));
	assert(!sb->until_running || row->running);
	assert(list_empty(&sb->until_none) || row->none);
	sb->state = state;
}

static const struct container_row {
	unsigned int next;
	bool created, running; /* may until_created, until_running be parked? */
	const char *name;
} container_rows[] = {
	[CTR_NEW] = { TO(CTR_DEVICES), true, false, "new" },
	[CTR_DEVICES] = { TO(CTR_MOUNTING) | TO(CTR_ABANDONED) | TO(CTR_KILLING), true, false,
			  "devices" },
	[CTR_MOUNTING] = { TO(CTR_BUILDING) | TO(CTR_ABANDONED) | TO(CTR_KILLING), true, false,
			   "mounting" },
	[CTR_BUILDING] = { TO(CTR_PRESTART) | TO(CTR_KILLING), true, false, "building" },
	[CTR_PRESTART] = { TO(CTR_SEALING) | TO(CTR_KILLING), true, false, "prestart" },
	[CTR_SEALING] = { TO(CTR_SHARING) | TO(CTR_KILLING), true, false, "sealing" },
	[CTR_SHARING] = { TO(CTR_CREATED) | TO(CTR_KILLING), true, false, "sharing" },
	[CTR_CREATED] = { TO(CTR_STARTING) | TO(CTR_STOPPED) | TO(CTR_KILLING), false, false,
			  "created" },
	[CTR_STARTING] = { TO(CTR_POSTSTART) | TO(CTR_ENDING) | TO(CTR_STOPPED) | TO(CTR_KILLING),
			   false, true, "starting" },
	[CTR_POSTSTART] = { TO(CTR_RUNNING) | TO(CTR_ENDING) | TO(CTR_KILLING), false, true,
			    "poststart" },
	[CTR_RUNNING] = { TO(CTR_STOPPED) | TO(CTR_KILLING), false, false, "running" },
	[CTR_ENDING] = { TO(CTR_STOPPED) | TO(CTR_KILLING), false, true, "ending" },
	[CTR_STOPPED] = { TO(CTR_KILLING), false, false, "stopped" },
	[CTR_ABANDONED] = { TO(CTR_KILLING), true, false, "abandoned" },
	[CTR_KILLING] = { TO(CTR_POSTSTOP), true, false, "killing" },
	[CTR_POSTSTOP] = { TO(CTR_RELEASING), true, false, "poststop" },
	[CTR_RELEASING] = { TO(CTR_GONE), true, false, "releasing" },
	[CTR_GONE] = { 0, false, false, "gone" },
};

void container_enter(struct container *ctr, enum container_state state)
{
	const struct container_row *row = &container_rows[state];

	log_debug("container", "%s: %s -> %s", ctr->id, container_rows[ctr->state].name, row->name);
	assert(container_rows[ctr->state].next & TO(state));
	assert(!ctr->until_created || row->created);
	assert(!ctr->until_running || row->running);
	assert(list_empty(&ctr->until_gone) || (state >= CTR_ABANDONED && state < CTR_GONE));
	assert(list_empty(&ctr->until_updated) || (state >= CTR_CREATED && state < CTR_ABANDONED));
	ctr->state = state;
}

void freezer_enter(struct container *ctr, enum freezer_state state)
{
	static const unsigned int next[] = {
		[FREEZER_THAWED] = TO(FREEZER_FREEZING) | TO(FREEZER_THAWED),
		[FREEZER_FREEZING] = TO(FREEZER_FROZEN) | TO(FREEZER_THAWED),
		[FREEZER_FROZEN] = TO(FREEZER_THAWING) | TO(FREEZER_SIGNALLED) | TO(FREEZER_THAWED),
		[FREEZER_THAWING] = TO(FREEZER_THAWED) | TO(FREEZER_FROZEN),
		[FREEZER_SIGNALLED] = TO(FREEZER_THAWED) | TO(FREEZER_FREEZING),
	};

	assert(next[ctr->freezer.state] & TO(state));
	assert(!ctr->freezer.until_settled || state == FREEZER_FREEZING ||
	       state == FREEZER_THAWING);
	ctr->freezer.state = state;
}

void process_enter(struct process *p, enum process_state state)
{
	static const unsigned int next[] = {
		[PROC_NEW] = TO(PROC_STARTING) | TO(PROC_RUNNING),
		[PROC_STARTING] = TO(PROC_RUNNING) | TO(PROC_ENDING),
		[PROC_RUNNING] = TO(PROC_DELIVERING) | TO(PROC_EXITED) | TO(PROC_TOLD),
		[PROC_ENDING] = TO(PROC_DELIVERING) | TO(PROC_EXITED) | TO(PROC_TOLD),
		[PROC_DELIVERING] = TO(PROC_EXITED) | TO(PROC_TOLD),
		[PROC_EXITED] = TO(PROC_TOLD),
		[PROC_TOLD] = TO(PROC_TOLD),
	};

	assert(next[p->state] & TO(state));
	assert(!p->until_running || state == PROC_STARTING || state == PROC_ENDING);
	assert(list_empty(&p->until_exited) || state == PROC_RUNNING || state == PROC_DELIVERING);
	p->state = state;
}

void stream_enter(struct stdio_stream *s, enum stream_state state)
{
	static const unsigned int next[] = {
		[STREAM_OPEN] = TO(STREAM_CLOSING) | TO(STREAM_ENDED),
		[STREAM_CLOSING] = TO(STREAM_ENDED),
		[STREAM_ENDED] = TO(STREAM_ENDED), /* told again */
	};

	assert(next[s->state] & TO(state));
	s->state = state;
}
