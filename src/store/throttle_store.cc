#include "store/throttle_store.h"

#include <algorithm>

namespace pgark {
namespace {

constexpr uint64_t kPieceBytesMin = 64u << 10;
constexpr uint64_t kPieceBytesMax = 1u << 30;

}  // namespace

class ThrottleStore::Writer final : public ObjectWriter {
 public:
  Writer(ThrottleStore& store, std::unique_ptr<ObjectWriter> inner) : store_(store), inner_(std::move(inner)) {}

  Result<> append(Bytes data) override {
    while (!data.empty()) {
      const Bytes piece = data.first(std::min(data.size(), store_.piece_bytes_));
      data = data.subspan(piece.size());
      TRY(store_.limiter_.take(piece.size(), store_.cancel_));
      TRY(inner_->append(piece));
    }
    return {};
  }
  Result<ObjectInfo> commit() && override { return std::move(*inner_).commit(); }

 private:
  ThrottleStore& store_;
  const std::unique_ptr<ObjectWriter> inner_;
};

ThrottleStore::ThrottleStore(std::unique_ptr<ObjectStore> inner, uint64_t bytes_per_second, Clock& clock,
                             const CancelToken* cancel)
    : inner_(std::move(inner)),
      limiter_(bytes_per_second, clock),
      piece_bytes_(static_cast<size_t>(std::clamp(bytes_per_second, kPieceBytesMin, kPieceBytesMax))),
      cancel_(cancel) {}

Result<std::unique_ptr<ObjectWriter>> ThrottleStore::create(const ObjectKey& key) {
  TRY_ASSIGN(auto inner, inner_->create(key));
  return std::unique_ptr<ObjectWriter>(std::make_unique<Writer>(*this, std::move(inner)));
}

Result<size_t> ThrottleStore::read(const ObjectKey& key, uint64_t offset, MutableBytes into) {
  size_t done = 0;
  // Once at least: reading nothing tells whether the object is there.
  do {
    const size_t want = std::min(into.size() - done, piece_bytes_);
    TRY_ASSIGN(const size_t got, inner_->read(key, offset + done, into.subspan(done, want)));
    done += got;
    // Afterwards, as an object may be shorter than what was asked for.
    TRY(limiter_.take(got, cancel_));
    if (got < want) break;
  } while (done < into.size());
  return done;
}

}  // namespace pgark
