#include "agent/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/testing.h"

#define JOIN_SESSION_KEYRING 1 /* KEYCTL_JOIN_SESSION_KEYRING */

bool privileges_keys(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    if (syscall(SYS_keyctl, JOIN_SESSION_KEYRING, NULL, 0, 0, 0) >= 0 || errno == ENOSYS) return true;
    return confine_fail(e, "keys", errno, "", "a session key ring of its own: %s", strerror(errno));
}

bool privileges_no_new(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) return true;
    return confine_fail(e, "no-new-privileges", errno, "", "no_new_privs: %s", strerror(errno));
}

static bool read_capabilities(struct __user_cap_data_struct data[2]) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    return syscall(SYS_capget, &header, data) == 0;
}

void privileges_bound(void) {
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) break;
}

/* What the tests compare with: capabilities that stay, through exec too. */
static bool keep_all(struct __user_cap_data_struct data[2]) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    if (!read_capabilities(data)) return false;
    for (int i = 0; i < 2; i++)
        data[i].inheritable = data[i].permitted;
    if (syscall(SYS_capset, &header, data) != 0) return false;
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
    return true;
}

bool privileges_drop(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2];
    if (testing_off("capability-drop")) return keep_all(data);
    memset(data, 0, sizeof data);
    privileges_bound();
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, data) == 0 && read_capabilities(data) &&
        (data[0].permitted | data[1].permitted | data[0].inheritable | data[1].inheritable) == 0)
        return true;
    return confine_fail(e, "capabilities", errno, "", "dropping capabilities: %s", strerror(errno));
}

bool privileges_hide(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    struct __user_cap_data_struct data[2];
    if (prctl(PR_SET_DUMPABLE, testing_off("dumpable"), 0, 0, 0) != 0)
        return confine_fail(e, "agent-memory", errno, "", "PR_SET_DUMPABLE: %s", strerror(errno));
    if (read_capabilities(data) && (data[0].effective & (1U << CAP_SYS_PTRACE)) == 0) return true;
    return confine_fail(e, "agent-memory", 0, "run the agent as another user than root",
                        "commands run as root with CAP_SYS_PTRACE and can read the agent's memory");
}
