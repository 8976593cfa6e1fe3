// Makes the golden files that are missing, with every field set, and leaves the others alone.
// golden_make DIRECTORY
#include <google/protobuf/text_format.h>

#include <fstream>
#include <iostream>

#include "golden_events.h"

namespace golden = trunkline::golden;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: golden_make DIRECTORY\n";
    return 1;
  }
  const std::filesystem::path root = argv[1];
  for (const golden::EventType& type : golden::all_event_types()) {
    const size_t have = golden::files_of(type, root).size();
    if (have != 0 && golden::fields_never_set(type, root).empty()) continue;
    std::string name = type.name();
    if (have != 0) name += "." + std::to_string(have + 1);
    const std::filesystem::path file = root / type.aggregate / name;
    std::filesystem::create_directories(file.parent_path());
    const auto event = golden::filled(type);
    std::string text;
    google::protobuf::TextFormat::PrintToString(*event, &text);
    std::ofstream(file.string() + ".bin", std::ios::binary) << event->SerializeAsString();
    std::ofstream(file.string() + ".textproto") << text;
    std::cout << "made " << file.string() << ".bin\n";
  }
}
