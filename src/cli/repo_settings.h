// From settings to what a store is told: the one place that knows which option goes with which kind of repository. Keys
// are in key_settings.h.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "cli/settings.h"
#include "store/azure_store.h"
#include "store/gcs_store.h"
#include "store/s3_store.h"
#include "store/sftp_options.h"

namespace pgark {

/// A directory of a file system.
struct DirectorySettings {
  std::string path;
};

/// Where repository N lives. Google's HMAC keys belong to its S3 interface, so that they make it an S3 store.
struct RepositorySettings {
  std::string label;  // "repo1".
  std::variant<DirectorySettings, S3Settings, AzureSettings, GcsSettings, SftpOptions> place;
  uint64_t bytes_per_second_max = 0;  // 0: no limit.
};

/// Read the settings of a repository that says where it is.
/// Shape:  no file is opened and nothing is connected; CloudSettings::cancel and SftpOptions::create are left to the
///         caller.
/// Errors: kInvalid, naming the option that is missing, contradicts another or has a value the kind of repository does
///         not take; kUnsupported for what no store provides together.
Result<RepositorySettings> repository_settings(const Settings& settings, unsigned repo);

}  // namespace pgark
