/* The rules on hosts: this machine, or one that is allowed by its name. */
#define _GNU_SOURCE
#include "clone/guard_host.h"

#include "clone/deny.h"
#include "runtime/dsn.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HOSTS_MAX 16

static const char HINT_LOCAL[] = "restore a clone on this machine and name it by a unix socket or a loopback address";
static const char HINT_REMOTE[] = "if it is a clone elsewhere, --allow-host";

static bool is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
	if (address->sa_family != AF_INET6)
		return false;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* Every address that the name has, so that libpq cannot pick another one than we looked at. */
static bool resolves_to_loopback(const char *name, int flags)
{
	struct addrinfo *found = NULL;
	if (getaddrinfo(name, NULL, &(struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = flags}, &found) != 0)
		return false;
	bool all = found != NULL;
	for (const struct addrinfo *a = found; a != NULL; a = a->ai_next)
		all = all && is_loopback(a->ai_addr);
	if (found != NULL)
		freeaddrinfo(found);
	return all;
}

static enum status refuse_host(const char *host, struct error *err)
{
	error_set(err, ST_REFUSED, "the target's host %.200s is not this machine", host);
	error_hint(err, "%s; %s %.200s", HINT_LOCAL, HINT_REMOTE, host);
	return ST_REFUSED;
}

static bool is_allowed(const char *host, const struct guard_policy *policy)
{
	for (const char *const *h = policy->hosts; h != NULL && *h != NULL; h++)
		if (host[0] != '\0' && strcasecmp(*h, host) == 0)
			return true;
	return false;
}

/* The guard would ask the one that answers now, and the load connect to whichever answers then. */
static enum status refuse_several(int n, struct error *err)
{
	error_set(err, ST_REFUSED, "the target names %d hosts, and which of them will answer each session is not known", n);
	error_hint(err, "name the one that is the clone");
	return ST_REFUSED;
}

static enum status check_host(const char *host, bool is_address, struct error *err)
{
	/* libpq's own default for an empty host is a unix socket; @ begins an abstract one. */
	if (!is_address && (host[0] == '\0' || host[0] == '/' || host[0] == '@'))
		return ST_OK;
	return resolves_to_loopback(host, is_address ? AI_NUMERICHOST : 0) ? ST_OK : refuse_host(host, err);
}

/* hosts and addresses: libpq's comma lists, either may be NULL. As libpq does, an address is taken rather than its host. */
static enum status check_hosts(
	const char *hosts, const char *addresses, const struct guard_policy *policy, enum guard_rule *rule, struct error *err)
{
	hosts = hosts != NULL ? hosts : "";
	addresses = addresses != NULL ? addresses : "";
	bool any_address = addresses[0] != '\0';
	for (int i = 0; i < HOSTS_MAX; i++) {
		char host[512], address[512];
		size_t host_len = strcspn(hosts, ",");
		size_t address_len = strcspn(addresses, ",");
		snprintf(host, sizeof host, "%.*s", (int)(host_len < INT_MAX ? host_len : INT_MAX), hosts);
		snprintf(address, sizeof address, "%.*s", (int)(address_len < INT_MAX ? address_len : INT_MAX), addresses);
		if (host_len >= sizeof host || address_len >= sizeof address)
			return error_set(err, ST_REFUSED, "the target's host name is too long to be this machine's");
		bool numeric = any_address && address[0] != '\0';
		const struct deny_target named = {.host = host, .address = address, .port = "", .server_address = "", .server_port = ""};
		*rule = GUARD_DENY;
		enum status st = deny_check(&named, err);
		if (st == ST_OK) {
			*rule = GUARD_HOST;
			st = is_allowed(numeric ? address : host, policy) ? ST_OK : check_host(numeric ? address : host, numeric, err);
		}
		if (st != ST_OK)
			return st;
		hosts += host_len;
		addresses += address_len;
		if (*hosts == '\0' && *addresses == '\0')
			return i == 0 ? ST_OK : refuse_several(i + 1, err);
		hosts += *hosts == ',';
		addresses += *addresses == ',';
	}
	return refuse_several(HOSTS_MAX + 1, err);
}

static void take_options(const PQconninfoOption *options, const char **host, const char **address, const char **service)
{
	for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
		if (o->val == NULL)
			continue;
		if (strcmp(o->keyword, "host") == 0)
			*host = o->val;
		else if (strcmp(o->keyword, "hostaddr") == 0)
			*address = o->val;
		else if (strcmp(o->keyword, "service") == 0)
			*service = o->val;
	}
}

enum status guard_host_check_named(const char *dsn, const struct guard_policy *policy, enum guard_rule *rule, struct error *err)
{
	*rule = GUARD_HOST;
	const char *host = NULL, *address = NULL, *service = NULL;
	PQconninfoOption *defaults = PQconndefaults();
	PQconninfoOption *given = dsn_parse(dsn, err);
	enum status st = given != NULL ? ST_OK : ST_USAGE;
	take_options(defaults, &host, &address, &service);
	take_options(given, &host, &address, &service);
	if (st == ST_OK && service != NULL && service[0] != '\0') {
		st = error_set(
			err, ST_REFUSED, "the target is named by a service file (service %.100s), which is not looked into", service);
		error_hint(err, "%s, with host= and dbname=", HINT_LOCAL);
	}
	if (st == ST_OK)
		st = check_hosts(host, address, policy, rule, err);
	PQconninfoFree(given);
	PQconninfoFree(defaults);
	return st;
}

enum status guard_host_check_reached(PGconn *conn, const struct guard_policy *policy, struct error *err)
{
	const char *host = PQhost(conn) != NULL ? PQhost(conn) : "";
	const char *address = PQhostaddr(conn) != NULL ? PQhostaddr(conn) : "";
	if (is_allowed(host, policy) || is_allowed(address, policy))
		return ST_OK;
	if (address[0] != '\0')
		return resolves_to_loopback(address, AI_NUMERICHOST) ? ST_OK : refuse_host(address, err);
	return host[0] == '/' || host[0] == '@' ? ST_OK : refuse_host(host, err);
}

void guard_host_describe(PGconn *conn, char *out, size_t size)
{
	const char *host = PQhost(conn) != NULL ? PQhost(conn) : "";
	const char *address = PQhostaddr(conn) != NULL ? PQhostaddr(conn) : "";
	if (address[0] == '\0')
		snprintf(out, size, "unix socket %.300s, port %.8s", host, PQport(conn));
	else if (strcmp(host, address) == 0)
		snprintf(out, size, "%.100s, port %.8s", address, PQport(conn));
	else
		snprintf(out, size, "%.100s (%.200s), port %.8s", address, host, PQport(conn));
}
