#include "core/result.h"

#include <cerrno>
#include <system_error>

namespace pgark {

std::string_view errc_name(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return "not_found";
    case Errc::kAlreadyExists:
      return "already_exists";
    case Errc::kCorrupt:
      return "corrupt";
    case Errc::kTransient:
      return "transient";
    case Errc::kOutcomeUnknown:
      return "outcome_unknown";
    case Errc::kPermission:
      return "permission";
    case Errc::kNoSpace:
      return "no_space";
    case Errc::kInvalid:
      return "invalid";
    case Errc::kUnsupported:
      return "unsupported";
    case Errc::kCancelled:
      return "cancelled";
    case Errc::kInternal:
      return "internal";
  }
  return "internal";
}

std::string Error::to_string() const {
  std::string text = message_;
  for (const std::string& hint : hints_) text += "\nHINT: " + hint;
  return text;
}

namespace {

Errc errc_of_errno(int value) {
  switch (value) {
    case ENOENT:
    case ENOTDIR:
      return Errc::kNotFound;
    case EEXIST:
    case ENOTEMPTY:
      return Errc::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return Errc::kPermission;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Errc::kNoSpace;
    case EINTR:
    case EAGAIN:
    case EBUSY:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ESTALE:
    case ETIMEDOUT:
    case ECONNRESET:
    case ECONNREFUSED:
    case EPIPE:
    case EIO:
      return Errc::kTransient;
    default:
      return Errc::kInvalid;
  }
}

}  // namespace

Error errno_error(int errno_value, std::string_view context) {
  return Error(errc_of_errno(errno_value), std::generic_category().message(errno_value)).with_context(context);
}

}  // namespace pgark
