#include "catalog/json_members.h"

#include <algorithm>

#include "codec/encoding.h"

namespace pgark {
namespace {

using nlohmann::json;

bool is_utf8(const std::string& text) {
  if (std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) return true;
  try {
    // The library's own check decides what it is able to write.
    static_cast<void>(json(text).dump());
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

}  // namespace

json foreign_text(const std::string& text) {
  if (is_utf8(text)) return text;
  return {{"hex", to_hex(as_bytes(text))}};
}

std::optional<std::string> text_from_json(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object() || value.size() != 1 || !value.contains("hex") || !value["hex"].is_string())
    return std::nullopt;
  const auto bytes = from_hex(value["hex"].get_ref<const std::string&>());
  if (!bytes.has_value()) return std::nullopt;
  return std::string(as_text(*bytes));
}

JsonMembers::JsonMembers(const json& object, std::string path, std::optional<Error>& failure)
    : object_(object), path_(std::move(path)), failure_(failure) {
  if (!object.is_object()) fail(path_.empty() ? "document" : path_.substr(0, path_.size() - 1), "no object");
}

const json* JsonMembers::find(const char* name, bool required) {
  if (failure_.has_value()) return nullptr;
  const auto found = object_.find(name);
  if (found != object_.end()) return &*found;
  if (required) fail(path_ + name, "missing");
  return nullptr;
}

void JsonMembers::decode_text(const json& value, const std::string& name, std::string& into) {
  if (auto text = text_from_json(value))
    into = std::move(*text);
  else
    fail(name, "no text");
}

void JsonMembers::fail(const std::string& name, std::string_view what) {
  if (!failure_.has_value()) failure_ = Error(Errc::kCorrupt, fmt::format("member '{}' is {}", name, what));
}

void JsonMembers::text(const char* name, std::string& into, bool required) {
  const json* value = find(name, required);
  if (value != nullptr) decode_text(*value, path_ + name, into);
}

void JsonMembers::long_integer(const char* name, uint64_t& into) {
  std::string digits;
  text(name, digits, false);
  if (failure_.has_value() || digits.empty()) return;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), into);
  if (status != std::errc{} || end != digits.data() + digits.size()) fail(path_ + name, "no number");
}

void JsonMembers::boolean(const char* name, bool& into, bool required) {
  const json* value = find(name, required);
  if (value == nullptr) return;
  if (!value->is_boolean()) return fail(path_ + name, "neither true nor false");
  into = value->get<bool>();
}

void JsonMembers::time(const char* name, Timestamp& into) {
  int64_t value = 0;
  integer(name, value);
  into = Timestamp(std::chrono::microseconds(value));
}

void JsonMembers::lsn(const char* name, Lsn& into, bool required) {
  std::string value;
  text(name, value, required);
  if (failure_.has_value() || (value.empty() && !required)) return;
  const Result<Lsn> parsed = parse_lsn(value);
  if (!parsed.has_value()) return fail(path_ + name, "no WAL position");
  into = *parsed;
}

void JsonMembers::texts(const char* name, std::map<std::string, std::string>& into) {
  const json* value = find(name, false);
  if (value == nullptr) return;
  if (!value->is_object()) return fail(path_ + name, "no object");
  for (const auto& [key, element] : value->items()) decode_text(element, path_ + name + "." + key, into[key]);
}

void JsonMembers::texts(const char* name, std::vector<std::string>& into) {
  const json* value = find(name, false);
  if (value == nullptr) return;
  if (!value->is_array()) return fail(path_ + name, "no array");
  for (const json& element : *value) {
    const std::string place = fmt::format("{}{}[{}]", path_, name, into.size());
    decode_text(element, place, into.emplace_back());
  }
}

JsonMembers JsonMembers::child(const char* name) {
  static const json kNone = json::object();
  const json* value = find(name, true);
  return JsonMembers(value == nullptr ? kNone : *value, path_ + name + ".", failure_);
}

}  // namespace pgark
