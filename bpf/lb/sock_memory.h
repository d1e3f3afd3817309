/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is remembered of a socket: which frontend it dialled when it talks to a backend (sock_origins), and
 * which backend a UDP socket was given for a frontend (sock_choices). Keyed by the socket's cookie, so that
 * no two sockets share an entry.
 */
#ifndef LB_SOCK_MEMORY_H
#define LB_SOCK_MEMORY_H

#include "lb/base.h"
#include "lb/backend.h"
#include "lb/sock_address.h"

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
static __always_inline struct lb_choice lb_sock_remembered(struct lb_sock_key *key, u32 service_id)
{
	struct lb_choice choice = {};
	struct lb_sock_choice *entry = sock_choices.lookup(key);

	if (!entry || entry->service_id != service_id ||
	    !lb_backend_is_member(service_id, entry->backend_id, LB_MEMBER_SERVING))
		return choice;
	choice.backend_id = entry->backend_id;
	choice.backend = lb_backend_lookup(entry->backend_id, entry->generation);
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

	origin_key.address = choice->backend->address;
	origin_key.port = choice->backend->port;
	sock_origins.update(&origin_key, &origin);
	if (key->protocol == IPPROTO_UDP)
		sock_choices.update(key, &remembered);
}

/*
 * A socket is closed. If it is connected its entries go now, not when newer ones push them out. Those of an
 * unconnected UDP socket nobody can find by the socket alone.
 */
static __always_inline void lb_sock_forget(struct bpf_sock *sock)
{
	struct lb_sock_key key = {.port = (__be16)sock->dst_port, .protocol = (u8)sock->protocol};
	struct lb_sock_key choice_key;
	struct lb_sock_origin *origin;

	if (!key.port || (key.protocol != IPPROTO_TCP && key.protocol != IPPROTO_UDP) ||
	    !lb_sock_peer_address(sock, &key.address))
		return;
	key.cookie = bpf_get_socket_cookie(sock);
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
