// Start and stop the object store servers that tests share: what ctest runs before the first and after the last of
// them. usage: object_servers start|stop s3|azure|swift DIRECTORY
#include "testing/object_servers.h"

#include <fmt/format.h>

#include <string>
#include <vector>

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() != 3 || (arguments[0] != "start" && arguments[0] != "stop")) {
    fmt::print(stderr, "usage: object_servers start|stop s3|azure|swift DIRECTORY\n");
    return 2;
  }
  const auto done = arguments[0] == "start" ? pgark::testing::start_shared_server(arguments[1], arguments[2])
                                            : pgark::testing::stop_shared_server(arguments[1], arguments[2]);
  if (!done) fmt::print(stderr, "object_servers: {}\n", done.error().to_string());
  return done ? 0 : 1;
}
