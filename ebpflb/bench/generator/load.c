/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes connections and requests, and times each. Decides nothing: every line of stdin is a command, and is answered
 * by one line of numbers. Runs on the CPU that it is started with.
 *
 *	targets ADDRESS:PORT ...	whom the next commands dial, in turn
 *	connect N	TCP connect() alone is timed; closed by RST, so that no port rests in TIME_WAIT
 *	request N	connect, one byte there, one byte back, close, all of it timed
 *	pingpong N	the same bytes on one connection
 *	bulk MEGABYTES	one connection, until the other side says how much it has got
 *	udp N		UDP connect() of one socket, again and again
 *	udpfresh N	UDP connect() of a socket each
 *
 * answer: "done", number of the command (from 1), operations, and in nanoseconds: elapsed time, CPU time, and of the
 * single operations (all 0 for bulk) the least, the median, the 99th and the 99.9th percentile
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024)

static struct sockaddr_in *targets;
static long target_count, next_target;
static long long *samples;
static char chunk[CHUNK];

static long long now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static long long cpu_ns(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
	       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static const struct sockaddr *target(void)
{
	if (!target_count) {
		errno = EDESTADDRREQ;
		fail("dial");
	}
	return (const struct sockaddr *)&targets[next_target++ % target_count];
}

static void read_targets(char *words)
{
	target_count = next_target = 0;
	for (char *word = strtok(words, " \n"); word; word = strtok(NULL, " \n")) {
		struct sockaddr_in at = {.sin_family = AF_INET};
		char *port = strchr(word, ':');

		if (!port)
			continue;
		*port++ = 0;
		at.sin_port = htons(atoi(port));
		if (inet_pton(AF_INET, word, &at.sin_addr) != 1)
			continue;
		targets = realloc(targets, (target_count + 1) * sizeof(*targets));
		targets[target_count++] = at;
	}
}

/* A socket that will be closed by RST, if it is one of TCP. */
static int open_socket(int type)
{
	struct linger abort = {.l_onoff = 1};
	int one = 1;
	int fd = socket(AF_INET, type, 0);

	if (fd < 0)
		fail("socket");
	if (type == SOCK_STREAM) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	return fd;
}

static void dial(int fd)
{
	if (connect(fd, target(), sizeof(struct sockaddr_in)))
		fail("connect");
}

static void exchange(int fd)
{
	char byte = 0;

	if (send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
		fail("exchange");
}

/* connect() alone, of a socket each. */
static void time_connects(long count, int type)
{
	for (long i = 0; i < count; i++) {
		int fd = open_socket(type);
		long long began = now_ns();

		dial(fd);
		samples[i] = now_ns() - began;
		close(fd);
	}
}

static void time_redials(long count)
{
	int fd = open_socket(SOCK_DGRAM);

	for (long i = 0; i < count; i++) {
		long long began = now_ns();

		dial(fd);
		samples[i] = now_ns() - began;
	}
	close(fd);
}

static void time_requests(long count)
{
	for (long i = 0; i < count; i++) {
		long long began = now_ns();
		int fd = open_socket(SOCK_STREAM);

		dial(fd);
		exchange(fd);
		close(fd);
		samples[i] = now_ns() - began;
	}
}

static void time_pingpong(long count)
{
	int fd = open_socket(SOCK_STREAM);

	dial(fd);
	for (long i = 0; i < count; i++) {
		long long began = now_ns();

		exchange(fd);
		samples[i] = now_ns() - began;
	}
	close(fd);
}

static void send_bulk(long megabytes)
{
	long long left = megabytes * 1000000LL;
	unsigned long long received = 0;
	int fd = open_socket(SOCK_STREAM);

	chunk[0] = 'b'; /* see serve.c */
	dial(fd);
	while (left > 0) {
		ssize_t sent = send(fd, chunk, left < CHUNK ? left : CHUNK, 0);

		if (sent < 0)
			fail("send");
		left -= sent;
	}
	shutdown(fd, SHUT_WR);
	if (recv(fd, &received, sizeof(received), MSG_WAITALL) != sizeof(received))
		fail("receive");
	if (received != megabytes * 1000000ULL) {
		fprintf(stderr, "bulk: %llu bytes arrived of %ld MB\n", received, megabytes);
		exit(1);
	}
	close(fd);
}

static int compare(const void *a, const void *b)
{
	long long first = *(const long long *)a, second = *(const long long *)b;

	return (first > second) - (first < second);
}

static void answer(long count, long long elapsed, long long used)
{
	static long number;
	long last = count - 1;

	qsort(samples, count, sizeof(*samples), compare);
	printf("done %ld %ld %lld %lld %lld %lld %lld %lld\n", ++number, count, elapsed, used, samples[0],
	       samples[last / 2], samples[last * 99 / 100], samples[last * 999 / 1000]);
	fflush(stdout);
}

static void obey(const char *command, long count)
{
	long long began, used;

	samples = realloc(samples, (count + 1) * sizeof(*samples));
	memset(samples, 0,
	       (count + 1) * sizeof(*samples)); /* no page is met for the first time while we time */
	used = cpu_ns();
	began = now_ns();
	if (!strcmp(command, "connect"))
		time_connects(count, SOCK_STREAM);
	else if (!strcmp(command, "request"))
		time_requests(count);
	else if (!strcmp(command, "pingpong"))
		time_pingpong(count);
	else if (!strcmp(command, "bulk"))
		send_bulk(count);
	else if (!strcmp(command, "udp"))
		time_redials(count);
	else if (!strcmp(command, "udpfresh"))
		time_connects(count, SOCK_DGRAM);
	else {
		fprintf(stderr, "no command %s\n", command);
		exit(1);
	}
	answer(count, now_ns() - began, cpu_ns() - used);
}

int main(int words, char **word)
{
	char *line = NULL, command[32];
	size_t room = 0;
	long count;
	cpu_set_t cpu;

	if (words != 2) {
		fprintf(stderr, "usage: load CPU\n");
		return 1;
	}
	CPU_ZERO(&cpu);
	CPU_SET(atoi(word[1]), &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		fail("pin");
	puts("ready");
	fflush(stdout);
	while (getline(&line, &room, stdin) > 0) {
		if (!strncmp(line, "targets ", 8))
			read_targets(line + 8);
		else if (sscanf(line, "%31s %ld", command, &count) == 2 && count > 0)
			obey(command, count);
	}
	return 0;
}
