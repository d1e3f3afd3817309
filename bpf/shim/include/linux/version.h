/* The build passes the running kernel's version by BCC_LINUX_VERSION_CODE; nothing here depends on it. */
#pragma once
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE	0
