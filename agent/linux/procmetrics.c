/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prometheus text from /proc. No state. Names and items are those of the 3.x agent, whose readers
 * know them. Only file systems that are written to on a disk of the guest are asked for their
 * figures: the share, which may hang, never is.
 */
#include "linux/procmetrics.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "linux/mountinfo.h"

#define FILE_MAX (256u << 10)

void metrics_add(struct metrics_text *t, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(line) && buf_append(&t->buf, line, (size_t)n) < 0)
		t->failed = true;
}

void metrics_head(struct metrics_text *t, const char *name, const char *type, const char *help)
{
	metrics_add(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value between its quotes: no quote, backslash or control character can leave them. */
static const char *label(const char *s, char out[128])
{
	size_t n = 0;

	for (; *s && n < 127; s++)
		out[n++] = *s == '"' || *s == '\\' || (unsigned char)*s < 0x20 ||
					   (unsigned char)*s >= 0x7f
				   ? '_'
				   : *s;
	out[n] = '\0';
	return out;
}

void metrics_item_name(const char *field, size_t len, char *out, size_t size)
{
	static const char percpu[] = "Percpu";
	size_t n = 0;

	if (len == strlen(percpu) && strncmp(field, percpu, len) == 0) {
		(void)snprintf(out, size, "per_cpu");
		return;
	}
	for (size_t i = 0; i < len && n + 2 < size; i++) {
		char c = field[i], before = i ? field[i - 1] : '\0',
		     after = i + 1 < len ? field[i + 1] : '\0';
		bool joined =
			i >= 4 && strncmp(field + i - 4, "HugePages", 9) == 0; /* one word there */
		bool word = isupper((unsigned char)c) && !joined &&
			    (islower((unsigned char)before) ||
			     (isupper((unsigned char)before) && islower((unsigned char)after)));
		bool number = isdigit((unsigned char)c) && isalpha((unsigned char)before);

		if (c == ')')
			continue;
		if ((word || number) && n && out[n - 1] != '_')
			out[n++] = '_';
		if (isdigit((unsigned char)before))
			out[n++] = c; /* direct_map_2M */
		else
			out[n++] =
				isalnum((unsigned char)c) ? (char)tolower((unsigned char)c) : '_';
	}
	out[n] = '\0';
}

/* The next line of text, its newline made a NUL; NULL at the end. */
static char *proc_line(char **text)
{
	char *line = *text, *nl;

	if (!line || !*line)
		return NULL;
	nl = strchr(line, '\n');
	*text = nl ? nl + 1 : NULL;
	if (nl)
		*nl = '\0';
	return line;
}

static char *read_proc(int proc, const char *path)
{
	char *text = NULL;

	return fdio_slurp(proc, path, FILE_MAX, &text) < 0 ? NULL : text;
}

/* "Name:  123 kB" lines, one item each; kB become bytes. Only the fields that want(name) likes. */
static void add_fields(struct metrics_text *t, const char *metric, char *text,
		       bool (*want)(const char *field))
{
	char *line;

	while ((line = proc_line(&text))) {
		char *colon = strchr(line, ':'), *end, item[64];
		unsigned long long v;

		if (!colon)
			continue;
		*colon = '\0';
		if (want && !want(line))
			continue;
		v = strtoull(colon + 1, &end, 10);
		if (end == colon + 1)
			continue;
		if (str_eq(end, " kB"))
			v *= 1024;
		metrics_item_name(line, (size_t)(colon - line), item, sizeof(item));
		metrics_add(t, "%s{item=\"%s\"} %llu\n", metric, item, v);
	}
}

/* Of /proc/self/status: memory and context switches; names stay in one word ("vmrss"). */
static void add_status(struct metrics_text *t, char *text)
{
	char *line;

	while ((line = proc_line(&text))) {
		char *colon = strchr(line, ':'), *end;
		unsigned long long v;

		if (!colon || !(str_starts(line, "Vm") || str_starts(line, "Rss") ||
				str_starts(line, "Huge") || strstr(line, "ctxt_switches")))
			continue;
		v = strtoull(colon + 1, &end, 10);
		if (str_eq(end, " kB"))
			v *= 1024;
		for (char *p = line; p < colon; p++)
			*p = (char)tolower((unsigned char)*p);
		metrics_add(t, "kata_agent_proc_status{item=\"%.*s\"} %llu\n", (int)(colon - line),
			    line, v);
	}
}

/*
 * The word behind so many blank-separated ones. By hand: sscanf is 120 kB of a static program.
 */
static const char *after_words(const char *s, unsigned int n)
{
	for (;;) {
		s += strspn(s, " \t");
		if (n-- == 0)
			return s;
		s += strcspn(s, " \t\n");
	}
}

/* The next number, behind so many words. False: there is none. */
static bool take_number(const char **s, unsigned int words, unsigned long long *ret)
{
	char *end;

	*s = after_words(*s, words);
	*ret = strtoull(*s, &end, 10);
	if (end == *s)
		return false;
	*s = end;
	return true;
}

void metrics_agent(struct metrics_text *t, int proc, unsigned long scrapes)
{
	AUTO_FREE char *stat = read_proc(proc, "self/stat"),
		       *status = read_proc(proc, "self/status"), *io = read_proc(proc, "self/io");
	unsigned long long utime, stime, cutime, cstime, threads, vsize, rss;
	const char *at = stat ? strrchr(stat, ')') : NULL;
	double hz = (double)sysconf(_SC_CLK_TCK);

	metrics_head(t, "kata_agent_scrape_count", "counter", "Metrics scrape count");
	metrics_add(t, "kata_agent_scrape_count %lu\n", scrapes);
	/*
	 * Behind the name: state and ten fields, four times, two priorities, threads, two more,
	 * vsize, rss.
	 */
	if (at && take_number(&at, 1 + 11, &utime) && take_number(&at, 0, &stime) &&
	    take_number(&at, 0, &cutime) && take_number(&at, 0, &cstime) &&
	    take_number(&at, 2, &threads) && take_number(&at, 2, &vsize) &&
	    take_number(&at, 0, &rss)) {
		metrics_head(t, "kata_agent_threads", "gauge", "Agent process threads");
		metrics_add(t, "kata_agent_threads %llu\n", threads);
		metrics_head(t, "kata_agent_total_time", "gauge",
			     "Agent process total time (in seconds)");
		metrics_add(t, "kata_agent_total_time %.2f\n", (double)(utime + stime) / hz);
		metrics_head(t, "kata_agent_total_vm", "gauge",
			     "Agent process total VM size (in bytes)");
		metrics_add(t, "kata_agent_total_vm %llu\n", vsize);
		metrics_head(t, "kata_agent_total_rss", "gauge",
			     "Agent process total RSS size (in bytes)");
		metrics_add(t, "kata_agent_total_rss %llu\n",
			    rss * (unsigned long long)sysconf(_SC_PAGESIZE));
		metrics_head(t, "kata_agent_proc_stat", "gauge",
			     "Agent process statistics (in clock ticks)");
		metrics_add(t, "kata_agent_proc_stat{item=\"utime\"} %llu\n", utime);
		metrics_add(t, "kata_agent_proc_stat{item=\"stime\"} %llu\n", stime);
		metrics_add(t, "kata_agent_proc_stat{item=\"cutime\"} %llu\n", cutime);
		metrics_add(t, "kata_agent_proc_stat{item=\"cstime\"} %llu\n", cstime);
	}
	if (status) {
		metrics_head(t, "kata_agent_proc_status", "gauge", "Agent process status");
		add_status(t, status);
	}
	if (io) {
		metrics_head(t, "kata_agent_io_stat", "gauge", "Agent process IO statistics");
		add_fields(t, "kata_agent_io_stat", io, NULL);
	}
}

static void add_load(struct metrics_text *t, int proc)
{
	AUTO_FREE char *text = read_proc(proc, "loadavg");
	static const char *const items[] = { "load1", "load5", "load15" };
	const char *at = text ? after_words(text, 3) : NULL;
	unsigned long long run, all;

	if (!at || !take_number(&at, 0, &run) || *at++ != '/' || !take_number(&at, 0, &all))
		return;
	metrics_head(t, "kata_guest_load", "gauge", "Guest system load");
	at = text;
	for (size_t i = 0; i < ARRAY_LEN(items); i++, at = after_words(at, 1))
		metrics_add(t, "kata_guest_load{item=\"%s\"} %.*s\n", items[i],
			    (int)strcspn(at, " "), at);
	metrics_head(t, "kata_guest_tasks", "gauge", "Guest system load");
	metrics_add(t, "kata_guest_tasks{item=\"cur\"} %llu\nkata_guest_tasks{item=\"max\"} %llu\n",
		    run, all);
}

/* Blank-separated numbers in that unit, one item each, with the labels that are given. */
static void add_numbers(struct metrics_text *t, const char *metric, const char *labels,
			const char *text, unsigned long long unit, const char *const *items,
			size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *end;
		unsigned long long v = strtoull(text, &end, 10);

		if (end == text)
			return; /* an older kernel tells less */
		metrics_add(t, "%s{%sitem=\"%s\"} %llu\n", metric, labels, items[i], v * unit);
		text = end;
	}
}

static void add_cpus(struct metrics_text *t, int proc)
{
	static const char *const items[] = { "user", "nice",	"system", "idle",  "iowait",
					     "irq",  "softirq", "steal",  "guest", "guest_nice" };
	AUTO_FREE char *text = read_proc(proc, "stat");
	unsigned long long tick_ms = 1000 / (unsigned long long)sysconf(_SC_CLK_TCK);
	char *at = text, *line;

	if (!text)
		return;
	metrics_head(t, "kata_guest_cpu_time", "gauge", "Guest CPU statistics (in milliseconds)");
	while ((line = proc_line(&at)) && str_starts(line, "cpu")) {
		size_t n = strcspn(line, " ");
		char labels[48];

		(void)snprintf(labels, sizeof(labels), "cpu=\"%.*s\",",
			       (int)(n > 3 && n < 16 ? n - 3 : 5), n > 3 ? line + 3 : "total");
		add_numbers(t, "kata_guest_cpu_time", labels, line + n, tick_ms, items,
			    ARRAY_LEN(items));
	}
}

static void add_vmstat(struct metrics_text *t, int proc)
{
	AUTO_FREE char *text = read_proc(proc, "vmstat");
	char *at = text, *line;

	if (!text)
		return;
	metrics_head(t, "kata_guest_vm_stat", "gauge", "Guest virtual memory statistics");
	while ((line = proc_line(&at))) {
		size_t n = strcspn(line, " ");

		if (line[n] == ' ' && isdigit((unsigned char)line[n + 1]))
			metrics_add(t, "kata_guest_vm_stat{item=\"%.*s\"} %s\n", (int)n, line,
				    line + n + 1);
	}
}

static void add_netdevs(struct metrics_text *t, int proc)
{
	static const char *const items[] = { "recv_bytes",	"recv_packets",	  "recv_errs",
					     "recv_drop",	"recv_fifo",	  "recv_frame",
					     "recv_compressed", "recv_multicast", "sent_bytes",
					     "sent_packets",	"sent_errs",	  "sent_drop",
					     "sent_fifo",	"sent_colls",	  "sent_carrier",
					     "sent_compressed" };
	AUTO_FREE char *text = read_proc(proc, "net/dev");
	char *at = text, *line;

	if (!text)
		return;
	metrics_head(t, "kata_guest_netdev_stat", "gauge", "Guest net devices stats");
	while ((line = proc_line(&at))) {
		char *colon = strrchr(line, ':'), labels[160], name[128];

		if (!colon)
			continue; /* the two lines of headings */
		*colon = '\0';
		line += strspn(line, " ");
		(void)snprintf(labels, sizeof(labels), "interface=\"%s\",", label(line, name));
		add_numbers(t, "kata_guest_netdev_stat", labels, colon + 1, 1, items,
			    ARRAY_LEN(items));
	}
}

static void add_disks(struct metrics_text *t, int proc)
{
	static const char *const items[] = { "reads",
					     "merged",
					     "sectors_read",
					     "time_reading",
					     "writes",
					     "writes_merged",
					     "sectors_written",
					     "time_writing",
					     "in_progress",
					     "time_in_progress",
					     "weighted_time_in_progress",
					     "discards",
					     "discards_merged",
					     "sectors_discarded",
					     "time_discarding",
					     "flushes",
					     "time_flushing" };
	AUTO_FREE char *text = read_proc(proc, "diskstats");
	char *at = text, *line;

	if (!text)
		return;
	metrics_head(t, "kata_guest_diskstat", "gauge", "Disks stat in system");
	while ((line = proc_line(&at))) {
		const char *name_at = after_words(line, 2);
		char name[64], labels[160], clean[128];
		size_t len = strcspn(name_at, " ");

		if (len == 0 || len >= sizeof(name))
			continue;
		(void)snprintf(name, sizeof(name), "%.*s", (int)len, name_at);
		(void)snprintf(labels, sizeof(labels), "disk=\"%s\",", label(name, clean));
		add_numbers(t, "kata_guest_diskstat", labels, name_at + len, 1, items,
			    ARRAY_LEN(items));
	}
}

/* A file system that is written to, on a disk. */
static bool is_disk(const struct mountinfo *m)
{
	static const char *const kinds[] = { "ext4", "xfs", "btrfs", "vfat", "overlay" };

	if (!str_eq(m->options, "rw") && !str_starts(m->options, "rw,"))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (str_eq(m->type, kinds[i]))
			return true;
	}
	return false;
}

struct filesystem {
	dev_t dev;
	char labels[300];
	struct statvfs st;
};

void metrics_filesystems(struct metrics_text *t, int proc)
{
	AUTO_FREE struct filesystem *fs = calloc(LIMIT_FILESYSTEMS, sizeof(*fs));
	AUTO_FREE char *text = NULL;
	char *at, a[128], b[128];
	struct mountinfo m;
	size_t n = 0;

	if (!fs || mountinfo_read(proc, &text) < 0)
		return;
	at = text;
	while (n < LIMIT_FILESYSTEMS && mountinfo_next(&at, &m)) {
		bool seen = false;

		for (size_t i = 0; i < n; i++)
			seen = seen || fs[i].dev == m.dev;
		if (seen || !is_disk(&m) || statvfs(m.point, &fs[n].st) < 0)
			continue;
		fs[n].dev = m.dev;
		(void)snprintf(fs[n].labels, sizeof(fs[n].labels), "mount=\"%s\",device=\"%s\"",
			       label(m.point, a), label(m.source, b));
		n++;
	}
	if (n == 0)
		return;
	metrics_head(t, "kata_guest_filesystem_bytes", "gauge",
		     "Guest filesystem space (in bytes)");
	for (size_t i = 0; i < n; i++) {
		const struct statvfs *s = &fs[i].st;
		unsigned long long unit = s->f_frsize;

		metrics_add(t, "kata_guest_filesystem_bytes{%s,item=\"total\"} %llu\n",
			    fs[i].labels, unit * s->f_blocks);
		metrics_add(t, "kata_guest_filesystem_bytes{%s,item=\"used\"} %llu\n", fs[i].labels,
			    unit * (s->f_blocks - s->f_bfree));
		metrics_add(t, "kata_guest_filesystem_bytes{%s,item=\"available\"} %llu\n",
			    fs[i].labels, unit * s->f_bavail);
	}
	metrics_head(t, "kata_guest_filesystem_inodes", "gauge", "Guest filesystem inodes");
	for (size_t i = 0; i < n; i++) {
		const struct statvfs *s = &fs[i].st;

		metrics_add(t, "kata_guest_filesystem_inodes{%s,item=\"total\"} %llu\n",
			    fs[i].labels, (unsigned long long)s->f_files);
		metrics_add(t, "kata_guest_filesystem_inodes{%s,item=\"used\"} %llu\n",
			    fs[i].labels, (unsigned long long)(s->f_files - s->f_ffree));
		metrics_add(t, "kata_guest_filesystem_inodes{%s,item=\"available\"} %llu\n",
			    fs[i].labels, (unsigned long long)s->f_favail);
	}
}

void metrics_guest(struct metrics_text *t, int proc)
{
	AUTO_FREE char *meminfo = read_proc(proc, "meminfo");

	add_load(t, proc);
	add_cpus(t, proc);
	add_vmstat(t, proc);
	add_netdevs(t, proc);
	add_disks(t, proc);
	if (meminfo) {
		metrics_head(t, "kata_guest_meminfo", "gauge",
			     "Statistics about memory usage on the system");
		add_fields(t, "kata_guest_meminfo", meminfo, NULL);
	}
}
