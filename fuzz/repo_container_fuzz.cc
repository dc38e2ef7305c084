// Feeds arbitrary objects to the container reader and to the reader of pgark.json.
#include "repo/container.h"
#include "store/memory_store.h"

using namespace pgark;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static MemoryStore store;
  static const auto repository = std::move(*Repository::open_or_create(store, system_clock()));
  const Bytes raw(reinterpret_cast<const std::byte*>(data), size);
  const ObjectKey key{"main/wal/1/object"};
  (void)store.remove(key);
  (void)store.put(key, raw);
  const auto container = ContainerReader::open(*repository, key, ContainerKind::kWal);
  if (container.has_value())
    for (const FrameRef& frame : container->frames()) (void)container->read(frame);

  MemoryStore other;
  (void)other.put(ObjectKey{"pgark.json"}, raw);
  (void)Repository::open(other);
  return 0;
}
