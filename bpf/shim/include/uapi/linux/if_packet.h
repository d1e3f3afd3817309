/* bcc asks for the UAPI path; the distribution has the same file without the prefix. */
#pragma once
#include <linux/if_packet.h>
