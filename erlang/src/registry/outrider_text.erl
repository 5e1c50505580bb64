%%% Names and addresses as people read them: in the log, on the dashboard, in metrics. Pure.
-module(outrider_text).

-export([name/1, address/1]).

%% A listener's name, a topic's label: any term. Always valid UTF-8.
-spec name(term()) -> binary().
name(Name) when is_atom(Name) -> atom_to_binary(Name);
name(Name) when is_integer(Name) -> integer_to_binary(Name);
name(Name) when is_binary(Name) ->
    case unicode:characters_to_binary(Name) of
        Text when is_binary(Text) -> Text;
        _ -> name({Name})
    end;
name(Name) ->
    unicode:characters_to_binary(io_lib:format("~0tp", [Name])).

%% Of a socket: `1.2.3.4:80', `[::1]:80', or the path of a Unix socket.
-spec address(outrider_registry:address() | {undefined, undefined}) -> binary() | undefined.
address({undefined, undefined}) -> undefined;
address({local, Path}) -> Path;
address({Ip, Port}) when tuple_size(Ip) =:= 8 -> iolist_to_binary(["[", inet:ntoa(Ip), "]:", integer_to_binary(Port)]);
address({Ip, Port}) -> iolist_to_binary([inet:ntoa(Ip), $:, integer_to_binary(Port)]).
