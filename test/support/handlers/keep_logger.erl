%% A logger as the transport option `logger' wants it, in a VM that a test cannot link a probe into: keeps what it is told.
-module(keep_logger).

-export([error/2, warning/2, said/0]).

error(Format, Args) -> keep(error, Format, Args).

warning(Format, Args) -> keep(warning, Format, Args).

%% {Level, Text}, last first.
said() -> persistent_term:get(?MODULE, []).

keep(Level, Format, Args) ->
    persistent_term:put(?MODULE, [{Level, unicode:characters_to_binary(io_lib:format(Format, Args))} | said()]).
