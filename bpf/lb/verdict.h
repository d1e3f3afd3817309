/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What to do with a packet. Every step returns a verdict; LB_CONTINUE means "not decided yet". A reason for a
 * drop is counted where it is found, so a verdict needs no reason. The entry files turn verdicts into
 * actions, in one switch.
 */
#ifndef LB_VERDICT_H
#define LB_VERDICT_H

#include "lb/base.h"

enum lb_verdict {
	LB_CONTINUE = 0,
	LB_UNUSUAL,	/* not for the short way that most packets take: the long one decides */
	LB_UNKNOWN,	/* follows no entry of a flow: somebody may claim it */
	LB_PASS,	/* not ours, or not ours here: untouched */
	LB_DELIVER,	/* rewritten: the stack routes it */
	LB_FORWARD,	/* rewritten: redirect to the next hop */
	LB_HAIRPIN,	/* rewritten: back out of the device it came in by */
	LB_REJECT,	/* tell the sender that nobody listens */
	LB_TOO_BIG,	/* tell the sender the MTU */
	LB_EXPIRED,	/* tell the sender that the TTL ran out */
	LB_ECHO_ANSWER, /* answer the ping */
	LB_DROP,
};

static __always_inline enum lb_verdict lb_drop(u32 reason)
{
	lb_count(reason);
	return LB_DROP;
}

#endif
