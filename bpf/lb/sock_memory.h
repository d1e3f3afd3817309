/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is remembered of a socket: which frontend it dialled when it talks to a backend (sock_origins), and
 * which backend a UDP socket was given for a frontend (sock_choices). Keyed by the socket's cookie, so that
 * no two sockets share an entry. Most sockets have both in a row of their own instead (sock_pair.h).
 */
#ifndef LB_SOCK_MEMORY_H
#define LB_SOCK_MEMORY_H

#include "lb/base.h"
#include "lb/backend.h"
#include "lb/sock_address.h"
#include "lb/sock_pair.h"

/* The socket and the address that its call names. */
static __always_inline struct lb_sock_key lb_sock_key(struct bpf_sock_addr *ctx, int hook)
{
	struct lb_sock_key key = {
		.cookie = bpf_get_socket_cookie(ctx),
		.address = lb_sock_address(ctx, hook),
		.port = (__be16)ctx->user_port,
		.protocol = (u8)ctx->protocol,
	};

	return key;
}

/*
 * UDP: one backend for a socket and destination while that backend serves the Service, whatever the ranges do
 * meanwhile. That another Service still has the backend is no reason to stay.
 */
static __always_inline struct lb_choice lb_sock_remembered(struct lb_sock_key *key, u32 service_id,
							   bool *is_in_row)
{
	struct lb_sock_pair *row = lb_sock_pair_row(key->cookie);
	struct lb_sock_choice found = {};
	struct lb_choice choice = {};

	*is_in_row = lb_sock_pair_choice(row, key, &found);
	if (!*is_in_row) {
		struct lb_sock_choice *entry = lb_sock_pair_is_crowded(row) ? sock_choices.lookup(key) : NULL;

		if (!entry)
			return choice;
		found = *entry;
	}
	if (found.service_id != service_id ||
	    !lb_backend_is_member(service_id, found.backend_id, LB_MEMBER_SERVING))
		return choice;
	choice.backend_id = found.backend_id;
	choice.backend = lb_backend_lookup(found.backend_id, found.generation);
	return choice;
}

static __always_inline void lb_sock_remember(struct lb_sock_key *key, u32 service_id,
					     const struct lb_choice *choice)
{
	struct lb_sock_key origin_key = *key;
	struct lb_sock_origin origin = {.address = key->address,
					.port = key->port,
					.backend_id = choice->backend_id,
					.generation = choice->backend->generation,
					.service_id = service_id};
	struct lb_sock_choice remembered = {.backend_id = choice->backend_id,
					    .generation = choice->backend->generation,
					    .service_id = service_id};

	if (lb_sock_pair_keep(lb_sock_pair_row(key->cookie), key, service_id, choice))
		return;
	origin_key.address = choice->backend->address;
	origin_key.port = choice->backend->port;
	sock_origins.update(&origin_key, &origin);
	if (key->protocol == IPPROTO_UDP)
		sock_choices.update(key, &remembered);
}

/* Which frontend the call's address stands for; `address` and `port` are filled in if it returns true. */
static __always_inline bool lb_sock_origin(struct lb_sock_key *key, addr_t *address, __be16 *port)
{
	struct lb_sock_pair *row = lb_sock_pair_row(key->cookie);
	struct lb_sock_origin *origin;

	if (lb_sock_pair_origin(row, key, address, port))
		return true;
	origin = lb_sock_pair_is_crowded(row) ? sock_origins.lookup(key) : NULL;
	if (!origin)
		return false;
	*address = origin->address;
	*port = origin->port;
	return true;
}

/*
 * A socket is closed. Its row is free now, and if it is connected its entries go, too, not when newer ones push
 * them out. Those of an unconnected UDP socket nobody can find by the socket alone.
 */
static __always_inline void lb_sock_forget(struct bpf_sock *sock)
{
	struct lb_sock_key key = {.port = (__be16)sock->dst_port, .protocol = (u8)sock->protocol};
	struct lb_sock_key choice_key;
	struct lb_sock_origin *origin;
	struct lb_sock_pair *row;

	if (key.protocol != IPPROTO_TCP && key.protocol != IPPROTO_UDP)
		return;
	key.cookie = bpf_get_socket_cookie(sock);
	row = lb_sock_pair_row(key.cookie);
	lb_sock_pair_free(row, key.cookie);
	if (!key.port || !lb_sock_pair_is_crowded(row) || !lb_sock_peer_address(sock, &key.address))
		return;
	origin = sock_origins.lookup(&key);
	if (!origin)
		return;
	if (key.protocol == IPPROTO_UDP) {
		choice_key = key;
		choice_key.address = origin->address;
		choice_key.port = origin->port;
		sock_choices.delete(&choice_key);
	}
	sock_origins.delete(&key);
}

#endif
