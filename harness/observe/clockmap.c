/* Where a server's clock stands against our monotonic one: the reading with the shortest round trip among recent ones. */
#include "observe/clockmap.h"

#include "base/clock.h"

void clockmap_add(struct clockmap *map, int64_t sent_ns, int64_t done_ns, int64_t server_us)
{
	int64_t error = (done_ns - sent_ns) / 2 + NS_PER_US;
	int64_t offset = sent_ns + (done_ns - sent_ns) / 2 - server_us * NS_PER_US;
	if (map->count > 0) {
		int64_t apart = offset - map->readings[map->best].offset_ns;
		if (apart < 0)
			apart = -apart;
		if (apart > error + map->readings[map->best].error_ns + NS_PER_MS) {
			map->count = map->next = 0;
			map->steps++;
		}
	}
	int slot = map->next;
	map->readings[slot].offset_ns = offset;
	map->readings[slot].error_ns = error;
	map->next = (map->next + 1) % CLOCKMAP_READINGS;
	if (map->count < CLOCKMAP_READINGS)
		map->count++;
	map->best = 0;
	for (int i = 1; i < map->count; i++)
		if (map->readings[i].error_ns < map->readings[map->best].error_ns)
			map->best = i;
}

bool clockmap_ready(const struct clockmap *map)
{
	return map->count > 0;
}

int64_t clockmap_local_ns(const struct clockmap *map, int64_t server_us)
{
	return server_us * NS_PER_US + map->readings[map->best].offset_ns;
}

int64_t clockmap_error_ns(const struct clockmap *map)
{
	return map->readings[map->best].error_ns;
}
