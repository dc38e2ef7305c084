// Headers of 512 bytes with numbers in octal, members padded to 512 bytes, two empty blocks at the end.
#include "ops/tar_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace pgark {
namespace {

constexpr size_t kBlockBytes = 512;
constexpr size_t kNameBytesMax = 99;
constexpr uint64_t kOctalMax = (uint64_t{1} << 33) - 1;  // 11 digits.

using Block = std::array<std::byte, kBlockBytes>;

void put(Block& block, size_t at, std::string_view text) {
  std::copy(as_bytes(text).begin(), as_bytes(text).end(), block.begin() + static_cast<ptrdiff_t>(at));
}

void put_size(Block& block, size_t at, uint64_t size) {
  if (size <= kOctalMax) return put(block, at, fmt::format("{:011o}", size));
  block[at] = std::byte{0x80};
  for (size_t i = 0; i < sizeof size; ++i) block[at + 11 - i] = static_cast<std::byte>(size >> (8 * i));
}

Block header(std::string_view name, uint64_t bytes, Timestamp time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  Block block{};
  put(block, 0, name);
  put(block, 100, "0000600");
  put(block, 108, "0000000");
  put(block, 116, "0000000");
  put_size(block, 124, bytes);
  put(block, 136, fmt::format("{:011o}", std::clamp<int64_t>(seconds, 0, static_cast<int64_t>(kOctalMax))));
  put(block, 148, "        ");
  put(block, 156, "0");
  put(block, 257, "ustar");
  put(block, 263, "00");
  unsigned sum = 0;
  for (const std::byte b : block) sum += static_cast<unsigned>(b);
  block[155] = std::byte{' '};
  put(block, 148, fmt::format("{:06o}", sum));
  block[154] = std::byte{0};
  return block;
}

}  // namespace

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

Result<> TarWriter::begin(std::string_view name, uint64_t bytes) {
  if (!is_plain_file_name(name) || name.size() > kNameBytesMax)
    return Error(Errc::kInvalid, fmt::format("write tar: '{}' is no name for a member", name));
  name_ = name;
  bytes_ = left_ = bytes;
  return sink_(header(name, bytes, time_));
}

Result<> TarWriter::append(Bytes data) {
  if (data.size() > left_)
    return Error(Errc::kCorrupt, fmt::format("write tar: {} is longer than {} bytes", name_, bytes_));
  left_ -= data.size();
  return sink_(data);
}

Result<> TarWriter::end() {
  if (left_ != 0)
    return Error(Errc::kCorrupt, fmt::format("write tar: {} is {} bytes shorter than {}", name_, left_, bytes_));
  const Block zeros{};
  const size_t tail = static_cast<size_t>(bytes_ % kBlockBytes);
  if (tail == 0) return {};
  return sink_(Bytes(zeros).first(kBlockBytes - tail));
}

Result<> TarWriter::finish() {
  const std::array<std::byte, 2 * kBlockBytes> zeros{};
  return sink_(zeros);
}

}  // namespace pgark
