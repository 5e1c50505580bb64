%%% What ranch:info/1 tells of a listener, and of its sidecars (outrider:info/1).
-module(outrider_info).

-export([of_listener/1]).

%% Fails with badarg where none of that name runs. What a key means: docs/operations.md.
-spec of_listener(ranch:ref()) -> #{atom() => term()}.
of_listener(Ref) ->
    Supervisor = outrider_registry:supervisor(Ref),
    TransOpts = outrider_registry:transport_options(Ref),
    {Ip, Port} =
        case outrider_registry:address(Ref) of
            {local, _} = Local -> {Local, undefined};
            Address -> Address
        end,
    Sidecars = outrider_sidecar:info(outrider_listener_sup:sidecars(Supervisor)),
    maps:merge(maps:from_list([{drain, Drain} || Drain <- [outrider_registry:drain(Ref)], Drain =/= undefined]), #{
        all_connections => lists:sum([All || #{all_connections := All} <- Sidecars]),
        active_connections => lists:sum([Active || #{active_connections := Active} <- Sidecars]),
        metrics => ranch_metrics(Sidecars),
        sidecars => [maps:without([accepted], Sidecar) || Sidecar <- Sidecars],
        pid => Supervisor,
        status => outrider_registry:status(Ref),
        ip => Ip,
        port => Port,
        max_connections => outrider_options:max_connections(TransOpts),
        transport =>
            case outrider_options:is_tls(TransOpts) of
                true -> ranch_ssl;
                false -> ranch_tcp
            end,
        transport_options => TransOpts,
        protocol => outrider,
        protocol_options => outrider_registry:protocol_options(Ref)
    }).

%% Ranch's keys, a sidecar in the place of its supervisors of connections.
ranch_metrics(Sidecars) ->
    maps:from_list(lists:append([
        [{{conns_sup, Number, accept}, Accepted}, {{conns_sup, Number, terminate}, Accepted - All}]
     || #{number := Number, accepted := Accepted, all_connections := All} <- Sidecars
    ])).
