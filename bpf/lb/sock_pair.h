/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What most sockets need to have remembered: one frontend and one backend, in the row of an array that the
 * socket's cookie names. No hash, no list, nothing allocated: a tenth of what an LRU map takes.
 *
 * Cookies count up, so that sockets of one time have rows side by side. A row whose owner is alive is never
 * taken from it: who finds it taken is sent to the maps (sock_memory.h), and so is a UDP socket's second pair.
 * The row is crowded from then on. While it is not, nothing about its sockets is in the maps, and no cache
 * miss is spent on them.
 */
#ifndef LB_SOCK_PAIR_H
#define LB_SOCK_PAIR_H

#include "lb/base.h"
#include "lb/backend.h"

static __always_inline struct lb_sock_pair *lb_sock_pair_row(u64 cookie)
{
	u32 place = cookie % LB_SOCK_PAIRS;

	return sock_pairs.lookup(&place);
}

/* May the maps have something about the sockets of this row? */
static __always_inline bool lb_sock_pair_is_crowded(const struct lb_sock_pair *row)
{
	return !row || row->is_crowded;
}

static __always_inline bool lb_sock_pair_dialled(const struct lb_sock_pair *row,
						 const struct lb_sock_key *key)
{
	return row->cookie == key->cookie && row->protocol == key->protocol &&
	       row->dialled_port == key->port && lb_addr_equal(&row->dialled, &key->address);
}

static __always_inline bool lb_sock_pair_got(const struct lb_sock_pair *row, const struct lb_sock_key *key)
{
	return row->cookie == key->cookie && row->protocol == key->protocol && row->port == key->port &&
	       lb_addr_equal(&row->address, &key->address);
}

/* Keep the pair. False: the row is another's, or has another pair of a socket that may have several. */
static __always_inline bool lb_sock_pair_keep(struct lb_sock_pair *row, const struct lb_sock_key *key,
					      u32 service_id, const struct lb_choice *choice)
{
	const addr_t address = choice->backend->address;
	const u32 generation = choice->backend->generation;
	const __be16 port = choice->backend->port;
	bool is_kept;

	if (!row)
		return false;
	bpf_spin_lock(&row->lock);
	is_kept = !row->cookie || (row->cookie == key->cookie && key->protocol == IPPROTO_TCP) ||
		  (lb_sock_pair_dialled(row, key) && row->port == port &&
		   lb_addr_equal(&row->address, &address));
	if (is_kept) {
		row->cookie = key->cookie;
		row->protocol = key->protocol;
		row->address = address;
		row->port = port;
		row->dialled = key->address;
		row->dialled_port = key->port;
		row->backend_id = choice->backend_id;
		row->generation = generation;
		row->service_id = service_id;
	} else {
		row->is_crowded = 1;
	}
	bpf_spin_unlock(&row->lock);
	return is_kept;
}

/* Whom the socket got for this frontend; `found` is filled in if it returns true. */
static __always_inline bool lb_sock_pair_choice(struct lb_sock_pair *row, const struct lb_sock_key *key,
						struct lb_sock_choice *found)
{
	bool is_it;

	if (!row || row->cookie != key->cookie)
		return false;
	bpf_spin_lock(&row->lock);
	is_it = lb_sock_pair_dialled(row, key);
	found->backend_id = row->backend_id;
	found->generation = row->generation;
	found->service_id = row->service_id;
	bpf_spin_unlock(&row->lock);
	return is_it;
}

/* Whom the socket dialled when it got this backend; `address` and `port` are filled in if it returns true. */
static __always_inline bool lb_sock_pair_origin(struct lb_sock_pair *row, const struct lb_sock_key *key,
						addr_t *address, __be16 *port)
{
	bool is_it;

	if (!row || row->cookie != key->cookie)
		return false;
	bpf_spin_lock(&row->lock);
	is_it = lb_sock_pair_got(row, key);
	*address = row->dialled;
	*port = row->dialled_port;
	bpf_spin_unlock(&row->lock);
	return is_it;
}

/* The socket is closed. */
static __always_inline void lb_sock_pair_free(struct lb_sock_pair *row, u64 cookie)
{
	if (!row || row->cookie != cookie)
		return;
	bpf_spin_lock(&row->lock);
	if (row->cookie == cookie)
		row->cookie = 0;
	bpf_spin_unlock(&row->lock);
}

#endif
