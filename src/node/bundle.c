/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <sys/prctl.h>

#include <jansson.h>

#include "base/mem.h"
#include "node/bundle.h"

/* The capabilities of a podman or Docker container. */
static const struct {
	int number;
	const char *name;
} default_caps[] = {
	{CAP_CHOWN, "CAP_CHOWN"},
	{CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
	{CAP_FOWNER, "CAP_FOWNER"},
	{CAP_FSETID, "CAP_FSETID"},
	{CAP_KILL, "CAP_KILL"},
	{CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"},
	{CAP_SETFCAP, "CAP_SETFCAP"},
	{CAP_SETGID, "CAP_SETGID"},
	{CAP_SETPCAP, "CAP_SETPCAP"},
	{CAP_SETUID, "CAP_SETUID"},
	{CAP_SYS_CHROOT, "CAP_SYS_CHROOT"},
};

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
	{"/dev/pts",
	 "devpts",
	 "devpts",
	 {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
	{"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
	{"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
	{"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
};

static json_t *strings(const char *const *items, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n && items[i]; i++)
		json_array_append_new(array, json_string(items[i]));
	return array;
}

static json_t *process_json(const struct bundle *b, uint64_t caps)
{
	static const char *const sets[] = {"bounding", "effective", "permitted"};
	json_t *groups = json_array(), *names = json_array(), *capabilities = json_object();
	json_t *process;

	for (size_t i = 0; i < b->user.n_groups; i++)
		json_array_append_new(groups, json_integer(b->user.groups[i]));
	for (size_t i = 0; i < ARRAY_LEN(default_caps); i++)
		if (caps >> default_caps[i].number & 1)
			json_array_append_new(names, json_string(default_caps[i].name));
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		/* A user that is not root starts with none, as under podman. */
		json_object_set_new(capabilities, sets[i],
				    i == 0 || b->user.uid == 0 ? json_copy(names) : json_array());
	json_decref(names);
	process = json_pack("{s:b, s:{s:I, s:I, s:o}, s:o, s:o, s:s, s:o, s:b}", "terminal",
			    b->terminal, "user", "uid", (json_int_t)b->user.uid, "gid",
			    (json_int_t)b->user.gid, "additionalGids", groups, "args",
			    strings((const char *const *)b->args.items, b->args.len), "env",
			    strings((const char *const *)b->env.items, b->env.len), "cwd", b->cwd,
			    "capabilities", capabilities, "noNewPrivileges", 1);
	return process;
}

static json_t *mounts_json(const struct bundle *b)
{
	json_t *mounts = json_array();

	for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++)
		json_array_append_new(mounts,
				      json_pack("{s:s, s:s, s:s, s:o}", "destination",
						default_mounts[i].destination, "type",
						default_mounts[i].type, "source",
						default_mounts[i].source, "options",
						strings(default_mounts[i].options,
							ARRAY_LEN(default_mounts[i].options))));
	for (size_t i = 0; i < b->n_mounts; i++) {
		const struct bundle_mount *m = &b->mounts[i];
		const char *options[] = {m->recursive ? "rbind" : "bind", "nosuid", "nodev",
					 m->read_only ? "ro" : "rw"};

		json_array_append_new(mounts,
				      json_pack("{s:s, s:s, s:s, s:o}", "destination",
						m->destination, "type", "bind", "source", m->source,
						"options", strings(options, ARRAY_LEN(options))));
	}
	return mounts;
}

static json_t *linux_json(const struct bundle *b)
{
	static const char *const kinds[] = {"pid", "ipc", "uts", "mount", "network"};
	json_t *namespaces = json_array();

	for (size_t i = 0; i < ARRAY_LEN(kinds) - (b->host_network ? 1 : 0); i++)
		json_array_append_new(namespaces, json_pack("{s:s}", "type", kinds[i]));
	return json_pack("{s:o, s:o, s:o}", "namespaces", namespaces, "maskedPaths",
			 strings(masked_paths, ARRAY_LEN(masked_paths)), "readonlyPaths",
			 strings(read_only_paths, ARRAY_LEN(read_only_paths)));
}

int bundle_format(struct buf *ret, const struct bundle *b, uint64_t caps, struct err *err)
{
	json_t *config = json_pack("{s:s, s:{s:s, s:b}, s:s, s:o, s:o, s:o}", "ociVersion", "1.0.2",
				   "root", "path", b->rootfs, "readonly", b->read_only, "hostname",
				   b->hostname, "process", process_json(b, caps), "mounts",
				   mounts_json(b), "linux", linux_json(b));
	char *text = config ? json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
	int r = text ? buf_add_str(ret, text) : E_INVALID;

	json_decref(config);
	free(text);
	/* jansson refuses what is not UTF-8, and so does the runtime specification. */
	return r < 0 ? err_set(err, E_INVALID,
			       "the container's command, environment or mounts are not UTF-8")
		     : 0;
}

void bundle_add_mount(struct bundle *b, const char *source, const char *destination, bool read_only,
		      bool recursive)
{
	array_grow(b->mounts, b->cap_mounts, b->n_mounts + 1);
	b->mounts[b->n_mounts++] = (struct bundle_mount){
		.source = xstrdup(source),
		.destination = xstrdup(destination),
		.read_only = read_only,
		.recursive = recursive,
	};
}

void bundle_release(struct bundle *b)
{
	strv_release(&b->args);
	strv_release(&b->env);
	for (size_t i = 0; i < b->n_mounts; i++) {
		free(b->mounts[i].source);
		free(b->mounts[i].destination);
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
