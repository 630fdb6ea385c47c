/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <strings.h>
#include <sys/prctl.h>

#include <jansson.h>

#include "base/mem.h"
#include "node/bundle.h"
#include "node/container-options.h"

enum { CPU_PERIOD_US = 100000 };

/* By number. */
static const char *const cap_names[] = {
	"CHOWN",
	"DAC_OVERRIDE",
	"DAC_READ_SEARCH",
	"FOWNER",
	"FSETID",
	"KILL",
	"SETGID",
	"SETUID",
	"SETPCAP",
	"LINUX_IMMUTABLE",
	"NET_BIND_SERVICE",
	"NET_BROADCAST",
	"NET_ADMIN",
	"NET_RAW",
	"IPC_LOCK",
	"IPC_OWNER",
	"SYS_MODULE",
	"SYS_RAWIO",
	"SYS_CHROOT",
	"SYS_PTRACE",
	"SYS_PACCT",
	"SYS_ADMIN",
	"SYS_BOOT",
	"SYS_NICE",
	"SYS_RESOURCE",
	"SYS_TIME",
	"SYS_TTY_CONFIG",
	"MKNOD",
	"LEASE",
	"AUDIT_WRITE",
	"AUDIT_CONTROL",
	"SETFCAP",
	"MAC_OVERRIDE",
	"MAC_ADMIN",
	"SYSLOG",
	"WAKE_ALARM",
	"BLOCK_SUSPEND",
	"AUDIT_READ",
	"PERFMON",
	"BPF",
	"CHECKPOINT_RESTORE",
};

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

/* The capabilities of a podman or Docker container. */
static const uint64_t default_caps =
	CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) |
	CAP_BIT(CAP_KILL) | CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_SETFCAP) |
	CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETPCAP) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SYS_CHROOT);

static const char *const masked_paths[] = {
	"/proc/acpi",          "/proc/kcore",      "/proc/keys",
	"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
	"/proc/sched_debug",   "/proc/scsi",       "/sys/firmware",
	"/sys/fs/selinux",     "/sys/dev/block",   "/sys/devices/virtual/powercap",
	"/proc/interrupts",
};

static const char *const read_only_paths[] = {
	"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* What every container has mounted. */
static const struct {
	const char *destination, *type, *source;
	const char *options[7];
} default_mounts[] = {
	{"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
	{"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
	{"/dev/pts", /* the last option only where a group 5 is mapped */
	 "devpts",
	 "devpts",
	 {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
	{"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
	{"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
	{"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
};

/* NULL, as from jansson: one of them is not UTF-8. What it is packed into is NULL then, too. */
static json_t *strings(const char *const *items, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n && items[i]; i++) {
		if (json_array_append_new(array, json_string(items[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *cap_set(uint64_t caps)
{
	json_t *names = json_array();

	for (size_t i = 0; i < ARRAY_LEN(cap_names); i++)
		if (caps >> i & 1)
			json_array_append_new(names, json_sprintf("CAP_%s", cap_names[i]));
	return names;
}

/* As under podman: a user that is not root starts with those alone that were asked for. */
static json_t *caps_json(const struct bundle *b, uint64_t bounding)
{
	uint64_t caps = (default_caps | b->cap_add) & ~b->cap_drop & bounding;
	uint64_t start = b->user.uid == 0 ? caps : b->cap_add & caps;
	json_t *ret = json_object();

	json_object_set_new(ret, "bounding", cap_set(caps));
	json_object_set_new(ret, "effective", cap_set(start));
	json_object_set_new(ret, "permitted", cap_set(start));
	if (b->user.uid != 0 && start) {
		json_object_set_new(ret, "inheritable", cap_set(start));
		json_object_set_new(ret, "ambient", cap_set(start));
	}
	return ret;
}

/* "unlimited" is 2^64 - 1, more than jansson can write: add_unlimited() puts it there. */
static json_t *limit_json(uint64_t limit)
{
	return json_integer(limit > INT64_MAX ? INT64_MAX : (json_int_t)limit);
}

static json_t *rlimits_json(const struct bundle *b)
{
	json_t *ret = json_array();

	for (size_t i = 0; i < b->n_rlimits; i++)
		json_array_append_new(ret, json_pack("{s:s, s:o, s:o}", "type", b->rlimits[i].type,
						     "soft", limit_json(b->rlimits[i].soft), "hard",
						     limit_json(b->rlimits[i].hard)));
	return ret;
}

/* With the user's own group, as under containerd and podman: a program that changes its group must not lose what files forbid
 * to that one. Where setgroups() may not be called there are none. */
static json_t *groups_json(const struct bundle *b)
{
	json_t *groups = json_array();

	if (!b->is_rootless)
		json_array_append_new(groups, json_integer(b->user.gid));
	for (size_t i = 0; i < b->user.n_groups; i++)
		json_array_append_new(groups, json_integer(b->user.groups[i]));
	return groups;
}

static json_t *process_json(const struct bundle *b, uint64_t bounding)
{
	json_t *ret = json_pack("{s:b, s:{s:I, s:I, s:o}, s:o, s:o, s:s, s:o, s:o, s:b}",
				"terminal", b->terminal, "user", "uid", (json_int_t)b->user.uid,
				"gid", (json_int_t)b->user.gid, "additionalGids", groups_json(b),
				"args", strings((const char *const *)b->args.items, b->args.len),
				"env", strings((const char *const *)b->env.items, b->env.len),
				"cwd", b->cwd, "capabilities", caps_json(b, bounding), "rlimits",
				rlimits_json(b), "noNewPrivileges", 1);

	if (ret && b->terminal && b->rows && b->columns)
		json_object_set_new(
			ret, "consoleSize",
			json_pack("{s:i, s:i}", "height", (int)b->rows, "width", (int)b->columns));
	return ret;
}

static json_t *tmpfs_json(const struct bundle_mount *m)
{
	static const char *const always[] = {"nosuid", "nodev"};
	cleanup_free char *copy = xstrdup(m->options ? m->options : "mode=1777");
	json_t *options = strings(always, ARRAY_LEN(always));
	char *rest = copy, *option;

	while (options && (option = strsep(&rest, ","))) {
		if (*option && json_array_append_new(options, json_string(option)) < 0) {
			json_decref(options);
			options = NULL;
		}
	}
	return json_pack("{s:s, s:s, s:s, s:o}", "destination", m->destination, "type", "tmpfs",
			 "source", "tmpfs", "options", options);
}

/* How many of its options count. */
static size_t option_count(const struct bundle *b, size_t mount)
{
	size_t n = 0;

	while (n < ARRAY_LEN(default_mounts[mount].options) && default_mounts[mount].options[n])
		n++;
	if (b->is_rootless && strcmp(default_mounts[mount].type, "devpts") == 0)
		n--;
	return n;
}

static json_t *mount_json(const struct bundle_mount *m)
{
	const char *options[] = {m->recursive ? "rbind" : "bind", "nosuid", "nodev",
				 m->read_only ? "ro" : "rw"};

	if (!m->source)
		return tmpfs_json(m);
	return json_pack("{s:s, s:s, s:s, s:o}", "destination", m->destination, "type", "bind",
			 "source", m->source, "options", strings(options, ARRAY_LEN(options)));
}

static json_t *default_mount_json(const struct bundle *b, size_t i)
{
	return json_pack("{s:s, s:s, s:s, s:o}", "destination", default_mounts[i].destination,
			 "type", default_mounts[i].type, "source", default_mounts[i].source,
			 "options", strings(default_mounts[i].options, option_count(b, i)));
}

static json_t *mounts_json(const struct bundle *b)
{
	json_t *mounts = json_array();
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++)
		r |= json_array_append_new(mounts, default_mount_json(b, i));
	for (size_t i = 0; i < b->n_mounts; i++)
		r |= json_array_append_new(mounts, mount_json(&b->mounts[i]));
	if (r == 0)
		return mounts;
	json_decref(mounts);
	return NULL;
}

/* SPEC oci-runtime config-linux.md control groups. No device but those that the runtime gives: without a
 * rule it would give all to who can make the node. */
static json_t *resources_json(const struct bundle *b)
{
	json_t *ret = json_pack("{s:[{s:b, s:s}]}", "devices", "allow", 0, "access", "rwm");

	if (b->memory_bytes)
		json_object_set_new(ret, "memory",
				    json_pack("{s:o}", "limit", limit_json(b->memory_bytes)));
	if (b->cpu_millis)
		json_object_set_new(ret, "cpu",
				    json_pack("{s:I, s:I}", "quota",
					      (json_int_t)(b->cpu_millis * CPU_PERIOD_US / 1000),
					      "period", (json_int_t)CPU_PERIOD_US));
	if (b->pids)
		json_object_set_new(ret, "pids", json_pack("{s:o}", "limit", limit_json(b->pids)));
	return ret;
}

static json_t *linux_json(const struct bundle *b)
{
	static const char *const kinds[] = {"pid", "ipc", "uts", "mount", "network"};
	json_t *namespaces = json_array();

	for (size_t i = 0; i < ARRAY_LEN(kinds) - (b->host_network ? 1 : 0); i++)
		json_array_append_new(namespaces, json_pack("{s:s}", "type", kinds[i]));
	return json_pack("{s:o, s:o, s:o, s:o}", "namespaces", namespaces, "maskedPaths",
			 strings(masked_paths, ARRAY_LEN(masked_paths)), "readonlyPaths",
			 strings(read_only_paths, ARRAY_LEN(read_only_paths)), "resources",
			 resources_json(b));
}

/* Appends the text with every number INT64_MAX written as UINT64_MAX. In strings, the quote before
 * the colon would be escaped. */
static int add_unlimited(struct buf *ret, const char *text)
{
	static const char largest[] = "\": 9223372036854775807",
			  unlimited[] = "\": 18446744073709551615";
	const char *hit;

	while ((hit = strstr(text, largest))) {
		bool is_number = hit > text && hit[-1] != '\\';

		if (buf_add(ret, text, (size_t)(hit - text)) < 0 ||
		    buf_add_str(ret, is_number ? unlimited : largest) < 0)
			return E_LIMIT;
		text = hit + sizeof(largest) - 1;
	}
	return buf_add_str(ret, text);
}

int bundle_format(struct buf *ret, const struct bundle *b, uint64_t caps, struct err *err)
{
	json_t *config = json_pack("{s:s, s:{s:s, s:b}, s:s, s:o, s:o, s:o}", "ociVersion", "1.0.2",
				   "root", "path", b->rootfs, "readonly", b->read_only, "hostname",
				   b->hostname, "process", process_json(b, caps), "mounts",
				   mounts_json(b), "linux", linux_json(b));
	char *text = config ? json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
	int r = text ? add_unlimited(ret, text) : E_INVALID;

	json_decref(config);
	free(text);
	/* jansson refuses what is not UTF-8, and so does the runtime specification. */
	return r < 0 ? err_set(err, E_INVALID,
			       "the container's command, environment or mounts are not UTF-8")
		     : 0;
}

static void add_mount(struct bundle *b, struct bundle_mount mount)
{
	array_grow(b->mounts, b->cap_mounts, b->n_mounts + 1);
	b->mounts[b->n_mounts++] = mount;
}

void bundle_add_mount(struct bundle *b, const char *source, const char *destination, bool read_only,
		      bool recursive)
{
	add_mount(b, (struct bundle_mount){
			     .source = xstrdup(source),
			     .destination = xstrdup(destination),
			     .read_only = read_only,
			     .recursive = recursive,
		     });
}

void bundle_add_tmpfs(struct bundle *b, const char *destination, const char *options)
{
	add_mount(b, (struct bundle_mount){
			     .destination = xstrdup(destination),
			     .options = options ? xstrdup(options) : NULL,
		     });
}

int bundle_capability(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(cap_names); i++)
		if (strcasecmp(cap_names[i], name) == 0)
			return (int)i;
	return -1;
}

void bundle_release(struct bundle *b)
{
	strv_release(&b->args);
	strv_release(&b->env);
	for (size_t i = 0; i < b->n_mounts; i++) {
		free(b->mounts[i].source);
		free(b->mounts[i].destination);
		free(b->mounts[i].options);
	}
	free(b->mounts);
	*b = (struct bundle){0};
}

uint64_t bundle_bounding_set(void)
{
	uint64_t set = 0;

	for (unsigned long cap = 0; cap < 64; cap++) {
		int r = prctl(PR_CAPBSET_READ, cap);

		if (r < 0) /* past the last one that the kernel knows */
			break;
		set |= (uint64_t)(r > 0) << cap;
	}
	return set;
}
