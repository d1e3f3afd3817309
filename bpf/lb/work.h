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

BPF_PERCPU_ARRAY(work, struct lb_work, 1);

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
