/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The backend of the load generator. Runs on the CPU that it is started with, at two ports in a row, the first of
 * which it is started with, too:
 *
 *	HOLD	connections wait in the queue, so that nobody is woken while connect() is timed
 *	TALK	what comes in goes back; a stream that begins with 'b' is taken whole, and its end is answered with
 *		the number of its bytes (u64, host order)
 *
 * A line on stdin takes what waits at HOLD, and is answered: "served", number of the line (from 1), and since the last
 * one: connections at HOLD, connections at TALK, CPU time in nanoseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE	 65535
#define CHUNK	 (256 * 1024)
#define HIGHEST	 65536 /* descriptors */
#define COMMANDS 0     /* stdin */

enum { HOLD, TALK, PORTS };

static int listeners[PORTS];
static unsigned char is_bulk[HIGHEST];
static unsigned long long received[HIGHEST];
static char chunk[CHUNK];
static int poller;
static long connections;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static long long cpu_ns(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
	       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

static void watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
		fail("epoll_ctl");
}

static int listen_at(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, QUEUE))
		fail("listen");
	return fd;
}

static void take(void)
{
	int one = 1;
	int fd = accept4(listeners[TALK], NULL, NULL, SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (fd >= HIGHEST) {
		close(fd);
		return;
	}
	connections++;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	received[fd] = 0;
	watch(fd);
}

static void serve(int fd)
{
	ssize_t length = recv(fd, chunk, CHUNK, 0);

	if (length > 0) {
		if (!received[fd])
			is_bulk[fd] = chunk[0] == 'b';
		received[fd] += length;
		if (is_bulk[fd] || send(fd, chunk, length, MSG_NOSIGNAL) == length)
			return;
	} else if (length < 0 && errno == EAGAIN) {
		return;
	} else if (!length && received[fd] && is_bulk[fd]) {
		if (send(fd, &received[fd], sizeof(received[fd]), MSG_NOSIGNAL) != sizeof(received[fd]))
			fprintf(stderr, "the number of bytes cannot be sent: %s\n", strerror(errno));
	}
	close(fd);
}

/* False: nobody commands any more. */
static int obey(void)
{
	static long long used;
	static long number;
	char line[64];
	long held = 0;
	int fd;

	if (read(COMMANDS, line, sizeof(line)) <= 0)
		return 0;
	for (; (fd = accept4(listeners[HOLD], NULL, NULL, 0)) >= 0; held++)
		close(fd);
	printf("served %ld %ld %ld %lld\n", ++number, held, connections, cpu_ns() - used);
	fflush(stdout);
	used = cpu_ns();
	connections = 0;
	return 1;
}

int main(int count, char **words)
{
	struct epoll_event events[64];
	int port = count == 3 ? atoi(words[2]) : 0;
	cpu_set_t cpu;

	if (port <= 0) {
		fprintf(stderr, "usage: serve CPU FIRST_PORT\n");
		return 1;
	}
	CPU_ZERO(&cpu);
	CPU_SET(atoi(words[1]), &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		fail("pin");
	poller = epoll_create1(0);
	for (int i = HOLD; i < PORTS; i++)
		listeners[i] = listen_at(port + i);
	watch(listeners[TALK]);
	watch(COMMANDS);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(poller, events, 64, -1);

		for (int i = 0; i < ready; i++) {
			int fd = events[i].data.fd;

			if (fd == COMMANDS && !obey())
				return 0;
			if (fd == listeners[TALK])
				take();
			else if (fd != COMMANDS)
				serve(fd);
		}
	}
}
