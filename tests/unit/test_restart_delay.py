from relay.supervise.processes import SLOWEST_RESTART_S, restart_delay_s


def test_each_death_in_a_row_doubles_the_wait_up_to_half_a_minute() -> None:
    assert [restart_delay_s(deaths) for deaths in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert restart_delay_s(1_000) == SLOWEST_RESTART_S
