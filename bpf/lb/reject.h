#ifndef LB_REJECT_H
#define LB_REJECT_H
static __always_inline int lb_reject(struct __sk_buff *skb, struct lb_packet *packet)
{
	lb_count(LB_COUNTER_REJECTED);
	return TC_ACT_SHOT;
}
#endif
