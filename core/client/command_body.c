#include "client/command_body.h"

#include <string.h>

#include "client/endpoint.h"
#include "client/json.h"
#include "util/text.h"
#include "wire/limits.h"

#define INLINE_INPUT_MAX KIB(512)

static sbx_status check(const sbx_command *command, bool running, const char *function, sbx_error *err) {
    bool has_argv = command->argv != NULL, has_shell = command->shell != NULL;
    if (has_argv == has_shell) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: set exactly one of command.argv and command.shell; %s is set", function,
                         has_argv ? "both" : "neither");
    }
    if (has_argv && command->argv[0] == NULL) {
        return error_set(err, SBX_ERROR_INVALID, "%s: command.argv is empty: give at least the program",
                         function);
    }
    for (size_t i = 0; command->env != NULL && command->env[i] != NULL; i++) {
        const char *equals = strchr(command->env[i], '=');
        if (equals != NULL && equals != command->env[i]) continue;
        /* Not what it says: values are often secrets. */
        return error_set(err, SBX_ERROR_INVALID, "%s: command.env[%zu] has no %s: write NAME=value", function,
                         i, equals == NULL ? "'='" : "name before its '='");
    }
    if (command->timeout_ms < 0) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: command.timeout_ms is %lld: give a positive number, or 0 for none", function,
                         (long long)command->timeout_ms);
    }
    if (command->input == NULL && command->input_len > 0) {
        return error_set(err, SBX_ERROR_INVALID, "%s: command.input is NULL and command.input_len is %zu",
                         function, command->input_len);
    }
    if (running && command->input_open) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: command.input_open needs sbx_process_start: nobody could write the input here",
                         function);
    }
    if (command->tag != NULL && strlen(command->tag) > LIMIT_TAG) {
        return error_set(err, SBX_ERROR_INVALID, "%s: command.tag has %zu bytes; %d are allowed", function,
                         strlen(command->tag), LIMIT_TAG);
    }
    return SBX_OK;
}

/* Whether the bytes are text that JSON can carry as it is. */
static bool is_utf8(const unsigned char *s, size_t len) {
    for (size_t i = 0; i < len;) {
        unsigned char c = s[i];
        size_t more = c < 0x80                ? 0
                      : c >= 0xc2 && c < 0xe0 ? 1
                      : c >= 0xe0 && c < 0xf0 ? 2
                      : c >= 0xf0 && c < 0xf5 ? 3
                                              : 9;
        if (more > len - i - 1) return false;
        for (size_t k = 1; k <= more; k++) {
            if ((s[i + k] & 0xc0) != 0x80) return false;
        }
        if (more == 2 && ((c == 0xe0 && s[i + 1] < 0xa0) || (c == 0xed && s[i + 1] > 0x9f))) return false;
        if (more == 3 && ((c == 0xf0 && s[i + 1] < 0x90) || (c == 0xf4 && s[i + 1] > 0x8f))) return false;
        i += more + 1;
    }
    return true;
}

static sbx_status lacks(sbx_error *err, const char *function, const char *what) {
    return error_set(err, SBX_ERROR_UNSUPPORTED,
                     "%s: the agent there is no hfsandbox-agent (or an older one) and cannot take %s",
                     function, what);
}

static sbx_status put_input(struct command_body *out, const sbx_command *command, unsigned features,
                            const char *function, sbx_error *err) {
    struct buf *json = &out->json;
    bool ours = (features & ENDPOINT_PROCESS) != 0;
    if (!ours && command->input_open)
        return lacks(err, function, "input while the command runs (command.input_open)");
    if (!ours && command->input_len > 0) {
        if (!is_utf8(command->input, command->input_len))
            return lacks(err, function, "input that is not UTF-8 text");
        buf_puts(json, ",\"stdin\":");
        json_put(json, command->input, command->input_len);
        return SBX_OK;
    }
    out->feed = command->input_len > INLINE_INPUT_MAX || (command->input_open && command->input_len > 0);
    if (out->feed || command->input_open) {
        buf_puts(json, ",\"stdin_open\":true");
    } else if (command->input != NULL) {
        buf_puts(json, ",\"stdin_base64\":");
        json_put_base64(json, command->input, command->input_len);
    }
    return SBX_OK;
}

sbx_status command_body_make(struct command_body *out, const sbx_command *command, unsigned features,
                             bool running, const char *function, sbx_error *err) {
    out->feed = false;
    buf_init(&out->json, LIMIT_JSON_BODY);
    sbx_status status = check(command, running, function, err);
    if (status != SBX_OK) return status;
    if (command->wait_descendants && !(features & ENDPOINT_PROCESS)) {
        return lacks(err, function, "command.wait_descendants");
    }
    struct buf *json = &out->json;
    buf_puts(json, "{\"cmd\":");
    if (command->shell != NULL) {
        json_put_text(json, command->shell);
    } else {
        json_put_array(json, command->argv);
    }
    if (command->env != NULL && command->env[0] != NULL) {
        buf_puts(json, ",\"env\":");
        json_put_env(json, command->env);
    }
    if (command->cwd != NULL) {
        buf_puts(json, ",\"cwd\":");
        json_put_text(json, command->cwd);
    }
    if (command->timeout_ms > 0) {
        buf_printf(json, ",\"timeout\":%lld.%03d", (long long)(command->timeout_ms / 1000),
                   (int)(command->timeout_ms % 1000));
    }
    if (command->tag != NULL) {
        buf_puts(json, ",\"tag\":");
        json_put_text(json, command->tag);
    }
    if (command->wait_descendants) buf_puts(json, ",\"end\":\"closed\"");
    status = put_input(out, command, features, function, err);
    buf_putc(json, '}');
    if (status == SBX_OK && json->failed) {
        status = error_set(err, SBX_ERROR_TOO_LARGE,
                           "%s: the command, its arguments and its environment are over %zu bytes", function,
                           LIMIT_JSON_BODY);
    }
    if (status != SBX_OK) buf_free(json);
    return status;
}
