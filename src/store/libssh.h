// libssh, loaded when an SFTP repository is first talked to: with what it needs (Kerberos among it) it would be a good
// part of what every process of pgark takes to start.
#pragma once

#include <libssh/libssh.h>

#include "core/result.h"

namespace pgark {

// clang-format off
#define PGARK_LIBSSH_FUNCTIONS(X) \
  X(ssh_channel_free) X(ssh_channel_is_closed) X(ssh_channel_is_eof) X(ssh_channel_new) \
  X(ssh_channel_open_session) X(ssh_channel_read_nonblocking) X(ssh_channel_read_timeout) X(ssh_channel_request_subsystem) \
  X(ssh_channel_window_size) X(ssh_channel_write) X(ssh_connect) X(ssh_disconnect) X(ssh_free) X(ssh_get_error) \
  X(ssh_get_fd) X(ssh_get_poll_flags) X(ssh_get_server_publickey) X(ssh_is_connected) X(ssh_key_cmp) \
  X(ssh_key_free) X(ssh_key_type) X(ssh_key_type_to_char) X(ssh_known_hosts_parse_line) \
  X(ssh_knownhosts_entry_free) X(ssh_new) X(ssh_options_set) X(ssh_pki_copy_cert_to_privkey) \
  X(ssh_pki_export_pubkey_base64) X(ssh_pki_import_privkey_file) X(ssh_pki_import_pubkey_file) \
  X(ssh_pki_key_ecdsa_name) X(ssh_set_blocking) X(ssh_string_free_char) X(ssh_userauth_agent) \
  X(ssh_userauth_list) X(ssh_userauth_none) X(ssh_userauth_publickey)
// clang-format on

/// libssh's functions, by their own names and types.
struct LibSsh {
#define PGARK_LIBSSH_MEMBER(name) decltype(&::name) name = nullptr;
  PGARK_LIBSSH_FUNCTIONS(PGARK_LIBSSH_MEMBER)
#undef PGARK_LIBSSH_MEMBER
};

/// Load the library, once in a process. To be called with success before ssh().
/// Errors: kUnsupported if it is not installed or too old, with what the loader says.
Result<> load_libssh();

/// The functions of the loaded library.
const LibSsh& ssh();

}  // namespace pgark
