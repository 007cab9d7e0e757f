// SPDX-License-Identifier: Apache-2.0
// Tells systemd, where it started this process and asked to be told, what state it is in (sd_notify's
// protocol: a datagram to the socket that $NOTIFY_SOCKET names).
#pragma once

#include <string_view>

namespace ttt::cli {

// "READY=1", "STOPPING=1". Without a service manager, or where it does not listen, nothing happens.
void notify_service_manager(std::string_view state);

}  // namespace ttt::cli
