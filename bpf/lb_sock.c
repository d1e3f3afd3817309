/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Socket hooks: the destination of connect() and sendmsg() becomes a backend's before the first packet
 *exists, so established traffic costs nothing and keeps its true source. getpeername() and recvmsg() show the
 *Service again.
 *
 *	connect, sendmsg:      destination -> frontend -> backend -> destination; remembered in sock_origins
 *	recvmsg, getpeername:  (socket, backend) -> sock_origins -> frontend
 */
#include "lb/base.h"
#include "lb/frontend.h"
#include "lb/backend.h"

/* bpf_get_netns_cookie: sock_addr since 5.7. */
static u64 (*lb_get_netns_cookie)(void *ctx) = (void *)122;
#if LB_HAVE_SET_RETVAL
/* bpf_set_retval: 5.18. */
static int (*lb_set_retval)(int retval) = (void *)187;
#endif

#define LB_ALLOW	1
#define LB_REFUSE	0
#define LB_ECONNREFUSED 111

static __always_inline addr_t lb_sock_address(const struct bpf_sock_addr *ctx)
{
#if FAMILY == 4
	addr_t address = {.word = {ctx->user_ip4}};
#else
	addr_t address = {.word = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
#endif
	return address;
}

static __always_inline void lb_sock_set_address(struct bpf_sock_addr *ctx, const addr_t *address, __be16 port)
{
#if FAMILY == 4
	ctx->user_ip4 = address->word[0];
#else
	ctx->user_ip6[0] = address->word[0];
	ctx->user_ip6[1] = address->word[1];
	ctx->user_ip6[2] = address->word[2];
	ctx->user_ip6[3] = address->word[3];
#endif
	ctx->user_port = port;
}

static __always_inline struct lb_sock_key lb_sock_key(struct bpf_sock_addr *ctx)
{
	struct lb_sock_key key = {
		.cookie = bpf_get_socket_cookie(ctx),
		.address = lb_sock_address(ctx),
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
 * No backend. bpf_set_retval (5.18) makes the call fail with ECONNREFUSED at once; older kernels could only
 * answer EPERM, which clients do not understand: there the address stays and the packet hooks reject.
 */
static __always_inline int lb_sock_refuse(void)
{
	lb_count(LB_COUNTER_SOCK_REJECTED);
#if LB_HAVE_SET_RETVAL
	lb_set_retval(-LB_ECONNREFUSED);
	return LB_REFUSE;
#else
	return LB_ALLOW;
#endif
}

/* The external policy binds traffic from outside only; a socket on this node may use every backend. */
static __always_inline bool lb_sock_local_only(const struct lb_frontend *frontend)
{
	return frontend->kind == LB_KIND_CLUSTER_IP && (frontend->flags & LB_FRONTEND_LOCAL_POLICY);
}

static __always_inline int lb_sock_translate(struct bpf_sock_addr *ctx)
{
	u64 netns_cookie = lb_get_netns_cookie(ctx);
	struct lb_sock_key key = lb_sock_key(ctx);
	struct lb_client client = {.affinity = {.netns_cookie = netns_cookie}};
	struct lb_choice choice = {};
	struct lb_frontend *frontend;

	if (key.protocol != IPPROTO_TCP && key.protocol != IPPROTO_UDP)
		return LB_ALLOW;
	frontend = lb_frontend_lookup(&key.address, key.port, key.protocol,
				      netns_cookie == (u64)LB_HOST_NETNS_COOKIE);
	if (!frontend) {
		lb_count(LB_COUNTER_SOCK_PASSED);
		return LB_ALLOW;
	}
	if (key.protocol == IPPROTO_UDP)
		choice = lb_sock_remembered(&key, frontend->service_id);
	if (!choice.backend) {
		client.local_only = lb_sock_local_only(frontend);
		struct lb_range range = client.local_only ? frontend->local : frontend->cluster;

		if (!range.length)
			return lb_sock_refuse();
		choice = lb_select(frontend, &range, &client, true);
		if (!choice.backend) {
			lb_count(LB_COUNTER_DROP_DEAD_SLOT);
			return lb_sock_refuse();
		}
	}
	lb_sock_remember(&key, frontend->service_id, &choice);
	lb_sock_set_address(ctx, &choice.backend->address, choice.backend->port);
	lb_count(LB_COUNTER_SOCK_TRANSLATED);
	return LB_ALLOW;
}

/* Show the frontend instead of the backend. recvmsg and getpeername must return 1, always. */
static __always_inline int lb_sock_restore(struct bpf_sock_addr *ctx)
{
	struct lb_sock_key key = lb_sock_key(ctx);
	struct lb_sock_origin *origin = sock_origins.lookup(&key);

	if (origin) {
		lb_sock_set_address(ctx, &origin->address, origin->port);
		lb_count(LB_COUNTER_SOCK_RESTORED);
	}
	return LB_ALLOW;
}

int LB_NAME(lb_connect)(struct bpf_sock_addr *ctx)
{
	return lb_sock_translate(ctx);
}

int LB_NAME(lb_sendmsg)(struct bpf_sock_addr *ctx)
{
	return lb_sock_translate(ctx);
}

int LB_NAME(lb_recvmsg)(struct bpf_sock_addr *ctx)
{
	return lb_sock_restore(ctx);
}

int LB_NAME(lb_getpeername)(struct bpf_sock_addr *ctx)
{
	return lb_sock_restore(ctx);
}
