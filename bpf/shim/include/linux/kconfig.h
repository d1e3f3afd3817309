/* bcc force-includes this; helpers.h asks for nothing else of the kernel's configuration. */
#pragma once
#define CONFIG_BPF_SYSCALL 1
