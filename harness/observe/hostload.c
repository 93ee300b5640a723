/* Load of this machine. */
#define _GNU_SOURCE
#include "observe/hostload.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECTOR_BYTES 512 /* of /proc/diskstats, whatever the disk's own are */

struct seen {
	int64_t busy, all, runnable, blocked; /* -1: not known */
	int64_t read_sectors, written_sectors, busiest_ms;
	int64_t available_bytes;
	bool disks;
};

static void read_stat(struct seen *s)
{
	FILE *f = fopen("/proc/stat", "re");
	if (f == NULL)
		return;
	char line[1024];
	while (fgets(line, sizeof line, f) != NULL) {
		int64_t v[8] = {0}; /* user nice system idle iowait irq softirq steal */
		if (strncmp(line, "cpu ", 4) == 0) {
			s->all = 0;
			char *at = line + 4;
			for (int i = 0; i < 8; i++) {
				v[i] = strtoll(at, &at, 10);
				s->all += v[i];
			}
			s->busy = s->all - v[3] - v[4];
		}
		sscanf(line, "procs_running %" SCNd64, &s->runnable); /* NOLINT(cert-err34-c) */
		sscanf(line, "procs_blocked %" SCNd64, &s->blocked);  /* NOLINT(cert-err34-c) */
	}
	fclose(f);
}

static void read_memory(struct seen *s)
{
	FILE *f = fopen("/proc/meminfo", "re");
	if (f == NULL)
		return;
	char line[256];
	int64_t kb;
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "MemAvailable: %" SCNd64 " kB", &kb) == 1) /* NOLINT(cert-err34-c) */
			s->available_bytes = kb * 1024;
	fclose(f);
}

/* Whole disks only: a partition's traffic is its disk's, and that of device mapper, md and loop goes to disks in turn. */
static bool is_disk(const char *name)
{
	char path[128];
	static const char *const LAYERS[] = {"loop", "ram", "dm-", "md", "zram"};
	for (size_t i = 0; i < sizeof LAYERS / sizeof LAYERS[0]; i++)
		if (strncmp(name, LAYERS[i], strlen(LAYERS[i])) == 0)
			return false;
	snprintf(path, sizeof path, "/sys/block/%s", name);
	return access(path, F_OK) == 0;
}

static void read_disks(struct seen *s)
{
	FILE *f = fopen("/proc/diskstats", "re");
	if (f == NULL)
		return;
	char line[512], name[64];
	while (fgets(line, sizeof line, f) != NULL) {
		int64_t read, written, ms;
		if (sscanf(line, "%*d %*d %63s %*d %*d %" SCNd64 " %*d %*d %*d %" SCNd64 " %*d %*d %" SCNd64, /* NOLINT(cert-err34-c) */
			    name, &read, &written, &ms) != 4 ||
			!is_disk(name))
			continue;
		s->disks = true;
		s->read_sectors += read;
		s->written_sectors += written;
		s->busiest_ms = ms > s->busiest_ms ? ms : s->busiest_ms;
	}
	fclose(f);
}

static json_t *known(int64_t value)
{
	return value >= 0 ? json_integer(value) : json_null();
}

json_t *hostload_look(struct hostload *h)
{
	struct seen s = {.all = -1, .runnable = -1, .blocked = -1, .available_bytes = -1};
	read_stat(&s);
	read_memory(&s);
	read_disks(&s);
	int64_t now_ns = clock_now_ns();
	json_t *out = NULL;
	if (h->at_ns > 0) {
		int64_t ms = (now_ns - h->at_ns) / NS_PER_MS;
		bool cpu = s.all > h->all && h->all > 0;
		double disk = ms > 0 ? (double)(s.busiest_ms - h->busiest_ms) / (double)ms : 0;
		out = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "cpu",
			cpu ? json_real((double)(s.busy - h->busy) / (double)(s.all - h->all)) : json_null(), "runnable", known(s.runnable),
			"blocked", known(s.blocked), "memory_available_bytes", known(s.available_bytes), "disk_read_bytes",
			known(s.disks ? (s.read_sectors - h->read_sectors) * SECTOR_BYTES : -1), "disk_write_bytes",
			known(s.disks ? (s.written_sectors - h->written_sectors) * SECTOR_BYTES : -1), "disk_busy",
			s.disks ? json_real(disk < 1 ? disk : 1) : json_null());
	}
	*h = (struct hostload){now_ns, s.busy, s.all, s.read_sectors, s.written_sectors, s.busiest_ms};
	return out;
}
