// JSON documents of manifests, read member by member. For the source files that decode one: it draws in the whole
// library.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

namespace pgark {

/// Foreign text: names and files of a cluster may be in any encoding, and must come back byte for byte.
nlohmann::json foreign_text(const std::string& text);
/// The reverse; none if it is no text.
std::optional<std::string> text_from_json(const nlohmann::json& value);

inline int64_t microseconds(Timestamp time) { return time.time_since_epoch().count(); }

/// Reads members of one object. After the first failure every further read gives a default, and the failure stays.
class JsonMembers {
 public:
  using json = nlohmann::json;

  JsonMembers(const json& object, std::string path, std::optional<Error>& failure);

  template <typename T>
  void integer(const char* name, T& into, bool required = true) {
    const json* value = find(name, required);
    if (value == nullptr) return;
    const bool fits = value->is_number_unsigned()  ? std::in_range<T>(value->get<uint64_t>())
                      : value->is_number_integer() ? std::in_range<T>(value->get<int64_t>())
                                                   : false;
    if (!fits) return fail(path_ + name, "no integer in range");
    into = value->get<T>();
  }
  /// One that may be absent or null.
  template <typename T>
  void integer(const char* name, std::optional<T>& into) {
    const json* value = find(name, false);
    if (value == nullptr || value->is_null()) return;
    integer(name, into.emplace());
  }
  /// 64 bits are more than readers of JSON keep: written as text. None is 0.
  void long_integer(const char* name, uint64_t& into);
  void boolean(const char* name, bool& into, bool required = true);
  void text(const char* name, std::string& into, bool required = true);
  void time(const char* name, Timestamp& into);
  void lsn(const char* name, Lsn& into, bool required = true);
  void texts(const char* name, std::map<std::string, std::string>& into);
  void texts(const char* name, std::vector<std::string>& into);
  JsonMembers child(const char* name);
  /// Any value; null if it is absent, which is a failure if it is required.
  const json* value(const char* name, bool required = true) { return find(name, required); }
  /// Note that a member does not say what it has to.
  void fail_member(const char* name, std::string_view what) { fail(path_ + name, what); }
  bool ok() const { return !failure_.has_value(); }

  /// Call `each` with the members of every element of an array of objects.
  template <typename Each>
  void array(const char* name, Each each) {
    const json* value = find(name, false);
    if (value == nullptr) return;
    if (!value->is_array()) return fail(path_ + name, "no array");
    size_t index = 0;
    for (const json& element : *value) {
      JsonMembers members(element, fmt::format("{}{}[{}].", path_, name, index++), failure_);
      if (failure_.has_value()) return;
      each(members);
    }
  }

 private:
  const json* find(const char* name, bool required);
  void decode_text(const json& value, const std::string& name, std::string& into);
  void fail(const std::string& name, std::string_view what);

  const json& object_;
  std::string path_;
  std::optional<Error>& failure_;
};

}  // namespace pgark
