// A file kept whole as one container: WAL segments, timeline histories, small records.
#pragma once

#include <optional>
#include <string>

#include "repo/container.h"

namespace pgark {

/// Store `raw` (which may be empty) in 1 MiB frames, with a JSON document beside it ("" for none), compressed with zstd
/// 1 unless `codec` says otherwise, by `threads` threads. The bytes stored do not depend on their number. `index`, if
/// not empty, follows as what the file contains.
/// Errors: as ObjectWriter::commit(), kAlreadyExists among them.
Result<ObjectInfo> write_stored_file(const Repository& repository, const ObjectKey& key, Bytes raw,
                                     const std::string& document, Codec codec = Codec::kZstd, int level = 1,
                                     unsigned threads = 1, Bytes index = {});

/// write_stored_file() in steps: this asks the store for the object, ...
Result<ContainerWriter> begin_stored_file(const Repository& repository, const ObjectKey& key);
/// ... this is the work of the processors, and the caller commits.
Result<> fill_stored_file(ContainerWriter& writer, Bytes raw, const std::string& document, Codec codec, int level,
                          unsigned threads, Bytes index);

/// Open one that holds no more than `raw_bytes_max`, as far as is known: from a far store a segment of up to 16 MiB
/// then comes whole with one request (ContainerReader::loaded()). Errors: as ContainerReader.
Result<ContainerReader> open_stored_file(const Repository& repository, const ObjectKey& key, uint64_t raw_bytes_max);

struct StoredFile {
  Buffer raw;
  std::string document;
  uint64_t object_bytes = 0;  // As it is stored.
};

/// Read and verify it, decoding with `threads` threads.
/// Errors: as ContainerReader; kInvalid if it holds more than `raw_bytes_max`.
Result<StoredFile> read_stored_file(const Repository& repository, const ObjectKey& key,
                                    uint64_t raw_bytes_max = 1u << 30, unsigned threads = 1);

/// Only the document.
Result<std::string> read_stored_document(const Repository& repository, const ObjectKey& key);

/// Only the index, with a small read or two; none if the file was stored without one.
/// Errors: as ContainerReader.
Result<std::optional<Buffer>> read_stored_index(const Repository& repository, const ObjectKey& key);

/// A record: a container that is nothing but a JSON document (cluster records, annotations).
/// Errors: as ObjectWriter::commit(), kAlreadyExists among them.
Result<ObjectInfo> write_record(const Repository& repository, const ObjectKey& key, const std::string& document);
/// Errors: as ContainerReader.
Result<std::string> read_record(const Repository& repository, const ObjectKey& key);

}  // namespace pgark
