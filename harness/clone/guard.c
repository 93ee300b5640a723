/* The guard: no rehearsal on a server that is not known to be a clone. Interim rule: a sandbox of ours, or a database on this
 * machine that carries the mark. */
#define _GNU_SOURCE
#include "clone/guard.h"

#include "base/fs.h"
#include "clone/deny.h"
#include "clone/registry.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <limits.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MARK "pgrehearse clone"
#define CONNECT_LIMIT_S "10"
#define HOSTS_MAX 16

static const char HINT_LOCAL[] = "restore a clone on this machine and name it by a unix socket or a loopback address";

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
	error_hint(err, "%s", HINT_LOCAL);
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
static enum status check_hosts(const char *hosts, const char *addresses, struct error *err)
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
		enum status st = deny_check(&named, err);
		if (st == ST_OK)
			st = check_host(numeric ? address : host, numeric, err);
		if (st != ST_OK)
			return st;
		hosts += host_len;
		addresses += address_len;
		if (*hosts == '\0' && *addresses == '\0')
			return ST_OK;
		hosts += *hosts == ',';
		addresses += *addresses == ',';
	}
	error_set(err, ST_REFUSED, "the target names more than %d hosts", HOSTS_MAX);
	error_hint(err, "name the one that is the clone");
	return ST_REFUSED;
}

/* libpq's own rule for what is a connection string rather than the bare name of a database. */
static bool is_connection_string(const char *dsn)
{
	return strncmp(dsn, "postgres://", 11) == 0 || strncmp(dsn, "postgresql://", 13) == 0 || strchr(dsn, '=') != NULL;
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

/* Before anything is sent: what the connection string, filled up from the environment as libpq will, names as hosts. */
static enum status check_before_connecting(const char *dsn, struct error *err)
{
	const char *host = NULL, *address = NULL, *service = NULL;
	PQconninfoOption *defaults = PQconndefaults();
	PQconninfoOption *given = NULL;
	enum status st = ST_OK;
	take_options(defaults, &host, &address, &service);
	if (is_connection_string(dsn)) {
		char *problem = NULL;
		given = PQconninfoParse(dsn, &problem);
		PQfreemem(problem); /* it may quote the password */
		if (given == NULL) {
			st = error_set(err, ST_USAGE, "the target is not a connection string that libpq understands");
			error_hint(err, "for example \"host=/var/run/postgresql dbname=clone\" or postgresql:///clone");
		}
		take_options(given, &host, &address, &service);
	}
	if (st == ST_OK && service != NULL && service[0] != '\0') {
		st = error_set(
			err, ST_REFUSED, "the target is named by a service file (service %.100s), which is not looked into", service);
		error_hint(err, "%s, with host= and dbname=", HINT_LOCAL);
	}
	if (st == ST_OK)
		st = check_hosts(host, address, err);
	PQconninfoFree(given);
	PQconninfoFree(defaults);
	return st;
}

/* Where we really are. */
static enum status check_connected_host(PGconn *conn, struct error *err)
{
	const char *host = PQhost(conn);
	const char *address = PQhostaddr(conn);
	if (address != NULL && address[0] != '\0')
		return resolves_to_loopback(address, AI_NUMERICHOST) ? ST_OK : refuse_host(address, err);
	return host != NULL && (host[0] == '/' || host[0] == '@') ? ST_OK : refuse_host(host != NULL ? host : "", err);
}

/* Where we are, against the deny list. Behind a forwarded port only the server itself knows its address. */
static enum status check_denied(PGconn *conn, struct error *err)
{
	PGresult *res = PQexec(conn,
		"SELECT COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()), ''), COALESCE(pg_catalog.inet_server_port()::text, ''),"
		" pg_catalog.current_database()");
	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1) {
		enum status failed = error_set(err, ST_FAILED, "cannot ask the target where it is: %.400s", PQresultErrorMessage(res));
		PQclear(res);
		return failed;
	}
	PGresult *control = PQexec(conn, "SELECT system_identifier FROM pg_catalog.pg_control_system()");
	bool known = PQresultStatus(control) == PGRES_TUPLES_OK && PQntuples(control) == 1;
	const char *address = PQhostaddr(conn);
	const struct deny_target reached = {
		.host = PQhost(conn),
		.address = address != NULL ? address : "",
		.port = PQport(conn),
		.server_address = PQgetvalue(res, 0, 0),
		.server_port = PQgetvalue(res, 0, 1),
		.database = PQgetvalue(res, 0, 2),
		.system = known ? PQgetvalue(control, 0, 0) : "",
	};
	enum status st = deny_check(&reached, err);
	PQclear(control);
	PQclear(res);
	return st;
}

static bool is_our_sandbox(PGconn *conn)
{
	char here[PATH_MAX], there[PATH_MAX];
	const char *host = PQhost(conn);
	struct sandbox_list list;
	if (host == NULL || host[0] != '/' || realpath(host, here) == NULL || sandbox_list(&list, NULL) != ST_OK)
		return false;
	bool ours = false;
	for (size_t i = 0; i < list.n && !ours; i++)
		ours = realpath(list.at[i].socket_dir, there) != NULL && strcmp(here, there) == 0;
	sandbox_list_free(&list);
	return ours;
}

static enum status refuse_unmarked(PGconn *conn, const char *comment, struct error *err)
{
	char *name = PQescapeIdentifier(conn, PQdb(conn), strlen(PQdb(conn)));
	error_set(err, ST_REFUSED, "the database %.200s is not marked as a clone%s%.200s%s", name != NULL ? name : PQdb(conn),
		comment[0] != '\0' ? ": its comment is \"" : "", comment, comment[0] != '\0' ? "\"" : "");
	error_hint(err, "if it may be destroyed: COMMENT ON DATABASE %.200s IS '" MARK "'", name != NULL ? name : PQdb(conn));
	PQfreemem(name);
	return ST_REFUSED;
}

static enum status check_mark(PGconn *conn, struct error *err)
{
	PGresult *res = PQexec(conn,
		"SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database"
		" WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()");
	enum status st = ST_OK;
	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1)
		st = error_set(err, ST_FAILED, "cannot read the target's comment: %.400s", PQresultErrorMessage(res));
	else if (strstr(PQgetvalue(res, 0, 0), MARK) == NULL)
		st = refuse_unmarked(conn, PQgetvalue(res, 0, 0), err);
	PQclear(res);
	return st;
}

static void drop_notice(void *arg, const char *message)
{
	(void)arg;
	(void)message;
}

enum status guard_check_target(const char *dsn, struct error *err)
{
	enum status st = check_before_connecting(dsn, err);
	if (st != ST_OK)
		return st;
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, CONNECT_LIMIT_S, "pgrehearse guard", "UTF8", NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(conn) != CONNECTION_OK) {
		const char *why = PQerrorMessage(conn);
		st = error_set(err, ST_FAILED, "cannot connect to the target: %.*s", (int)strcspn(why, "\n"), why);
	} else {
		PQsetNoticeProcessor(conn, drop_notice, NULL);
		st = check_connected_host(conn, err);
		if (st == ST_OK)
			st = check_denied(conn, err);
		if (st == ST_OK && !is_our_sandbox(conn))
			st = check_mark(conn, err);
	}
	PQfinish(conn);
	return st;
}
