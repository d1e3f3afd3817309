/* bcc brings its own copy of this header; the guard keeps the distribution's out. */
#pragma once
#define __LINUX_BPF_H__
