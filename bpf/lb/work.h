/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a packet hook keeps what it finds out about the packet at hand.
 */
#ifndef LB_WORK_H
#define LB_WORK_H

#include "lb/base.h"
#include "lb/open.h"
#include "lb/packet.h"

/* The stack, 512 bytes, does not hold it beside all else; no packet meets another on its CPU before it is
 * done. */
struct lb_work {
	struct lb_packet packet;
	struct lb_translation translation;
	u8 side;	/* enum lb_side */
	u8 verdict;	/* enum lb_verdict */
	bool is_missed; /* of LB_UNKNOWN: the flow tables have nothing, they need not be asked again */
};

#ifdef LB_XDP
BPF_PERCPU_ARRAY(work, struct lb_work, 1);
#else
/* With the build's programs: what those of one source begin, those of another finish. */
BPF_TABLE_PINNED("percpu_array", u32, struct lb_work, work, 1, LB_BUILD_PIN_DIR "/work");
#endif

static __always_inline struct lb_work *lb_work_current(void)
{
	u32 zero = 0;

	return work.lookup(&zero);
}

static __always_inline struct lb_work *lb_work_begin(void)
{
	struct lb_work *item = lb_work_current();

	if (item)
		__builtin_memset(item, 0, sizeof(*item));
	return item;
}

#endif
